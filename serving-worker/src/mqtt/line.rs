//! One line to the broker, from its first packet to its end.
//!
//! The one place that names the MQTT library. A line that broke is never mended: the next one is a
//! new client with the same name, and what was not confirmed on this one is said again there. So
//! nothing of the library's own state outlives a line.

use bytes::Bytes;
use rumqttc::{
    Outgoing,
    v5::{
        AsyncClient, Event, EventLoop, Incoming, MqttOptions,
        mqttbytes::{
            QoS,
            v5::{
                Filter, LastWill, PubAck, PubAckReason, Publish, PublishProperties,
                RetainForwardRule, SubscribeReasonCode,
            },
        },
    },
};
use tokio::sync::mpsc;

use super::{Place, ledger::MESSAGES_MAX, letter::Letter, payload::PAYLOAD_BYTES_MAX};
use crate::relay::Escort;

/// Answers on their way to the broker and not confirmed yet.
pub(super) const LETTERS_MAX: usize = 64;
/// What may wait to be sent: the letters, an acknowledgement for each message, and some more for
/// what is listened to.
const REQUESTS_MAX: usize = LETTERS_MAX + 4 * MESSAGES_MAX + 64;
/// News that may wait to be heard.
const NEWS_MAX: usize = 256;
/// Longest packet: a message, its topic and properties.
const PACKET_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + (64 << 10);
/// How long the broker keeps what was not brought to us, in seconds.
const SESSION_S: u32 = 24 * 60 * 60;
/// How often the line is tried when nothing is said on it.
const KEEP_ALIVE: std::time::Duration = std::time::Duration::from_secs(15);
/// How long the broker may take to answer, in seconds.
const CONNECT_S: u64 = 10;

/// A message that was brought.
#[derive(Debug)]
pub(super) struct Message {
    /// 0 when nobody waits for its acknowledgement.
    pub(super) packet: u16,
    pub(super) retained: bool,
    pub(super) topic: Bytes,
    pub(super) payload: Bytes,
    pub(super) content_type: Option<String>,
    /// What it says beside its payload: where in a trace it comes from.
    pub(super) escort: Option<Box<Escort>>,
}

/// What happens on a line.
#[derive(Debug)]
pub(super) enum News {
    /// It is up; `known` when the broker remembers us.
    Up { known: bool },
    /// A message was brought.
    Came(Message),
    /// The oldest letter that had no packet id has got this one.
    Sent(u16),
    /// A letter is at the broker, which took it or did not.
    Confirmed { packet: u16, taken: bool },
    /// The broker does not let us listen to something.
    Deaf,
    /// It broke, for this reason.
    Broke(String),
}

/// Says things on a line.
#[derive(Debug)]
pub(super) struct Mouth(AsyncClient);

/// A line could not take what was said: it is given up.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the line to the broker takes nothing more")]
pub(super) struct Stuck;

/// Begins a line; its news end with [`News::Broke`].
pub(super) fn begin(place: &Place, status: &str) -> (Mouth, mpsc::Receiver<News>) {
    let broker = &place.broker;
    let name = format!("sensemble-{}-{}", place.site, place.device);
    let mut options = MqttOptions::new(name, &broker.place.host, broker.place.port);
    let receive_max = u16::try_from(MESSAGES_MAX).expect("it is small");
    options
        .set_clean_start(false)
        .set_session_expiry_interval(Some(SESSION_S))
        .set_receive_maximum(Some(receive_max))
        .set_max_packet_size(Some(u32::try_from(PACKET_BYTES_MAX).expect("it is small")))
        .set_outgoing_inflight_upper_limit(u16::try_from(LETTERS_MAX).expect("it is small"))
        .set_keep_alive(KEEP_ALIVE)
        .set_connection_timeout(CONNECT_S)
        .set_manual_acks(true)
        .set_last_will(LastWill::new(status, OFFLINE, QoS::AtLeastOnce, true, None));
    if let Some((user, password)) = &broker.user {
        options.set_credentials(user, password);
    }
    let (client, events) = AsyncClient::new(options, REQUESTS_MAX);
    let (news, heard) = mpsc::channel(NEWS_MAX);
    runtime::spawn::named("mqtt line", live(events, news));
    (Mouth(client), heard)
}

/// What stands at the status of a worker.
pub(super) const ONLINE: &str = "online";
pub(super) const OFFLINE: &str = "offline";

/// Hears what happens until the line breaks, or nobody listens any more.
async fn live(mut events: EventLoop, news: mpsc::Sender<News>) {
    loop {
        let event = tokio::select! {
            event = events.poll() => event,
            () = news.closed() => return,
        };
        let said = match event {
            Ok(Event::Incoming(packet)) => incoming(packet),
            Ok(Event::Outgoing(Outgoing::Publish(packet))) => Some(News::Sent(packet)),
            Ok(Event::Outgoing(_)) => None,
            Err(error) => {
                let _nobody_listens = news.send(News::Broke(error.to_string())).await;
                return;
            }
        };
        if let Some(said) = said
            && news.send(said).await.is_err()
        {
            return;
        }
    }
}

fn incoming(packet: Incoming) -> Option<News> {
    match packet {
        Incoming::ConnAck(ack) => Some(News::Up { known: ack.session_present }),
        Incoming::Publish(publish) => {
            let Publish { qos, retain, topic, pkid, payload, properties, .. } = publish;
            let packet = if qos == QoS::AtMostOnce { 0 } else { pkid };
            let properties = properties.unwrap_or_default();
            let (content_type, said) = (properties.content_type, properties.user_properties);
            let escort = (!said.is_empty()).then(|| Box::new(Escort::of_properties(&said)));
            let retained = retain;
            Some(News::Came(Message { packet, retained, topic, payload, content_type, escort }))
        }
        Incoming::PubAck(PubAck { pkid, reason, .. }) => {
            let taken =
                matches!(reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
            Some(News::Confirmed { packet: pkid, taken })
        }
        Incoming::SubAck(ack) => {
            let heard = |it: &SubscribeReasonCode| matches!(it, SubscribeReasonCode::Success(_));
            (!ack.return_codes.iter().all(heard)).then_some(News::Deaf)
        }
        // A broker that says goodbye ends the line, and `poll` says so.
        Incoming::Disconnect(_)
        | Incoming::Auth(_)
        | Incoming::Connect(..)
        | Incoming::PingReq(_)
        | Incoming::PingResp(_)
        | Incoming::Subscribe(_)
        | Incoming::PubRec(_)
        | Incoming::PubRel(_)
        | Incoming::PubComp(_)
        | Incoming::Unsubscribe(_)
        | Incoming::UnsubAck(_) => None,
    }
}

impl Mouth {
    /// Says `letter`, to be confirmed.
    pub(super) fn say(&self, letter: &Letter) -> Result<(), Stuck> {
        let Letter { topic, payload, retain, answers: _, properties } = letter;
        let (topic, payload) = (topic.as_str(), payload.clone());
        let said = if properties.is_empty() {
            self.0.try_publish(topic, QoS::AtLeastOnce, *retain, payload)
        } else {
            let user_properties = properties.clone();
            let properties = PublishProperties { user_properties, ..PublishProperties::default() };
            self.0.try_publish_with_properties(
                topic,
                QoS::AtLeastOnce,
                *retain,
                payload,
                properties,
            )
        };
        said.map_err(|_| Stuck)
    }

    /// Acknowledges a message: the broker may forget it.
    pub(super) fn acknowledge(&self, packet: u16) -> Result<(), Stuck> {
        let publish = Publish { pkid: packet, qos: QoS::AtLeastOnce, ..Publish::default() };
        self.0.try_ack(&publish).map_err(|_| Stuck)
    }

    /// Listens to `topics`, and not to what was said there before.
    pub(super) fn listen(&self, topics: impl IntoIterator<Item = String>) -> Result<(), Stuck> {
        let filters = topics.into_iter().map(|topic| {
            let mut filter = Filter::new(topic, QoS::AtLeastOnce);
            filter.retain_forward_rule = RetainForwardRule::Never;
            filter
        });
        let filters: Vec<Filter> = filters.collect();
        if filters.is_empty() {
            return Ok(());
        }
        self.0.try_subscribe_many(filters).map_err(|_| Stuck)
    }

    /// Listens to `topic` no more.
    pub(super) fn ignore(&self, topic: String) -> Result<(), Stuck> {
        self.0.try_unsubscribe(topic).map_err(|_| Stuck)
    }

    /// Ends the line in good order: the broker keeps what comes, and tells nobody that we are gone.
    pub(super) fn leave(&self) {
        // When there is no room for it, the line ends by itself.
        let _stuck = self.0.try_disconnect();
    }
}
