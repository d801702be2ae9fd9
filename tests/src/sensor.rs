//! A sensor that speaks MQTT 3.1.1: says things at QoS 1, hears what it listens to, and comes back
//! when the broker was away.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use rumqttc::{Client, Event, Incoming, MqttOptions, QoS};
use serde_json::Value;

use crate::wait::{PAUSE, until};

/// Longest wait for something to be said.
pub const HEAR_MAX: Duration = Duration::from_secs(60);
/// Longest packet, for what is too long for others.
const PACKET_BYTES_MAX: usize = 1 << 20;
/// What may wait to be said.
const SAID_MAX: usize = 4_000;

/// What was heard.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Where.
    pub topic: String,
    /// What: JSON, or text.
    pub said: Value,
}

#[derive(Default)]
struct Memory {
    heard: Mutex<Vec<Heard>>,
    confirmed: AtomicUsize,
    done: AtomicBool,
}

/// A sensor at a broker.
pub struct Sensor {
    client: Client,
    memory: Arc<Memory>,
    said: AtomicUsize,
}

impl Sensor {
    /// Connects as `name` to the broker at `port` of this machine and listens to `topics`.
    ///
    /// # Panics
    ///
    /// When it cannot be done.
    #[must_use]
    pub fn connect(port: u16, name: &str, topics: &[&str]) -> Self {
        let mut options = MqttOptions::new(name, "127.0.0.1", port);
        options.set_clean_session(false).set_keep_alive(Duration::from_secs(5));
        options.set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
        let (client, mut connection) = Client::new(options, SAID_MAX);
        let memory = Arc::new(Memory::default());
        let (remembers, listens) = (Arc::clone(&memory), Arc::new(AtomicBool::new(false)));
        let heard = Arc::clone(&listens);
        thread::spawn(move || {
            for event in connection.iter() {
                if remembers.done.load(Relaxed) {
                    return;
                }
                match event {
                    Ok(Event::Incoming(Incoming::Publish(publish))) => {
                        let text = String::from_utf8_lossy(&publish.payload).into_owned();
                        let said = serde_json::from_str(&text).unwrap_or(Value::String(text));
                        let heard = Heard { topic: publish.topic, said };
                        remembers.heard.lock().unwrap_or_else(PoisonError::into_inner).push(heard);
                    }
                    Ok(Event::Incoming(Incoming::PubAck(_))) => {
                        remembers.confirmed.fetch_add(1, Relaxed);
                    }
                    Ok(Event::Incoming(Incoming::SubAck(_))) => heard.store(true, Relaxed),
                    Ok(_) => {}
                    // The broker is away; what was not confirmed is said again when it is back.
                    Err(_) => thread::sleep(PAUSE),
                }
            }
        });
        let filters = topics.iter().map(|topic| rumqttc::SubscribeFilter {
            path: (*topic).to_owned(),
            qos: QoS::AtLeastOnce,
        });
        client.subscribe_many(filters).expect("the connection lives");
        until("the sensor to listen", HEAR_MAX, || {
            if listens.load(Relaxed) { Ok(()) } else { Err("not yet") }
        });
        Self { client, memory, said: AtomicUsize::new(0) }
    }

    /// Says `payload` at `topic`, at least once.
    ///
    /// # Panics
    ///
    /// When the connection is gone.
    pub fn say(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.client.publish(topic, QoS::AtLeastOnce, false, payload).expect("the connection lives");
        self.said.fetch_add(1, Relaxed);
    }

    /// Waits until the broker has all that was said.
    ///
    /// # Panics
    ///
    /// When it does not come to that.
    #[track_caller]
    pub fn until_confirmed(&self) {
        until("the broker to confirm", HEAR_MAX, || {
            let confirmed = self.memory.confirmed.load(Relaxed);
            let said = self.said.load(Relaxed);
            if said <= confirmed { Ok(()) } else { Err(format!("{confirmed} of {said}")) }
        });
    }

    /// What was heard so far at topics that end with `end`.
    #[must_use]
    pub fn heard(&self, end: &str) -> Vec<Heard> {
        let heard = self.memory.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.iter().filter(|it| it.topic.ends_with(end)).cloned().collect()
    }

    /// Waits until `want` finds what it looks for among what was heard at topics that end with `end`.
    ///
    /// # Panics
    ///
    /// When it does not.
    #[track_caller]
    pub fn until_heard<T>(&self, end: &str, want: impl Fn(&Heard) -> Option<T>) -> T {
        until(&format!("something at …{end}"), HEAR_MAX, || {
            let heard = self.heard(end);
            heard.iter().find_map(&want).ok_or_else(|| heard.last().cloned())
        })
    }

    /// Waits for the answer to the sample with this id.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[track_caller]
    pub fn until_answered(&self, id: &str) -> Value {
        self.until_heard("/prediction", |it| (it.said["id"] == id).then(|| it.said.clone()))
    }

    /// How often each id was answered.
    #[must_use]
    pub fn answered(&self) -> BTreeMap<String, usize> {
        let mut times = BTreeMap::new();
        for heard in self.heard("/prediction") {
            if let Some(id) = heard.said["id"].as_str() {
                *times.entry(id.to_owned()).or_default() += 1;
            }
        }
        times
    }
}

impl Drop for Sensor {
    fn drop(&mut self) {
        self.memory.done.store(true, Relaxed);
        // The thread ends with the next event, at the latest with the next ping.
        let _gone = self.client.try_disconnect();
    }
}
