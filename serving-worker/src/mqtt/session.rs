//! The worker at the broker: hears samples and corrections, answers, and acknowledges.
//!
//! One task owns all of it. Messages are taken in their order; their answers are computed beside
//! each other and said in their order. What was said and not confirmed is said again on the next
//! line; what was not acknowledged is brought again by the broker, and known ([`Ledger`]).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesOrdered};
use proto::v1;
use runtime::{Drain, Report, backoff::Backoff};
use signals::{Stretch as _, Window};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::{
    Counts, Place,
    ledger::{Entered, Ledger, Number, Print},
    letter::{self, Echo, Letter, Places},
    line::{self, LETTERS_MAX, Message, Mouth, News, Stuck},
    payload::{self, Content, PayloadError, Sample},
    streams::{self, Streams},
    topic::{About, Button, Topics},
};
use crate::{
    answer::{Desk, Terms, names, shortened},
    correction::Corrections,
    error::{CorrectError, PredictError},
    relay::Escort,
    served::Served,
    traced::Call,
};

/// The first and the longest wait before a line is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(15));
/// How often, and with which first wait, a request is tried again that may be done a moment later.
const AGAIN: (u32, Duration) = (5, Duration::from_millis(20));
/// Rows of features in one message: each of them is answered by a message.
const ROWS_MAX: usize = 256;
/// How long the last answers may take to reach the broker when the worker ends.
const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// What the session works with.
pub(super) struct Parts {
    pub(super) place: Place,
    pub(super) desk: Arc<Desk>,
    pub(super) corrections: Arc<Corrections>,
    pub(super) changed: watch::Receiver<()>,
    pub(super) counts: Arc<Counts>,
    pub(super) drain: Drain,
}

/// The worker at the broker.
pub(super) struct Session {
    place: Arc<Place>,
    topics: Topics,
    desk: Arc<Desk>,
    corrections: Arc<Corrections>,
    changed: watch::Receiver<()>,
    counts: Arc<Counts>,
    drain: Drain,
    ledger: Ledger,
    streams: Streams,
    /// What is worked on, in the order in which it came.
    working: FuturesOrdered<BoxFuture<'static, Done>>,
    /// What is to be said.
    letters: VecDeque<Letter>,
    /// What was said on this line and has no packet id yet, oldest first.
    saying: VecDeque<Letter>,
    /// What was said on this line and is not confirmed, oldest first.
    said: VecDeque<(u16, Letter)>,
    /// Windows of tasks, by task, with what they were made from.
    windows: BTreeMap<String, (String, Option<Arc<Window>>)>,
    /// Classes of the tasks that were announced.
    announced: BTreeMap<String, Vec<String>>,
    /// What the buttons are about.
    last: BTreeMap<String, Last>,
    /// Whether messages of this line were left with the broker, which sent more than it may: they are
    /// brought again on the next line.
    left: bool,
}

/// The last answer of a task, for the buttons of Home Assistant.
#[derive(Clone, Debug)]
struct Last {
    prediction_id: Vec<u8>,
    class: String,
    /// The answer that was called wrong and waits for its class.
    wrong: Option<Vec<u8>>,
}

/// Work that came to its end.
struct Done {
    number: Number,
    letters: Vec<Letter>,
    /// The last answer that was given, of which task.
    last: Option<(String, Vec<u8>, String)>,
}

/// Why a message was not done. The text goes to the error topic of its task.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Payload(#[from] PayloadError),
    #[error(transparent)]
    Predict(#[from] PredictError),
    #[error(transparent)]
    Correct(#[from] CorrectError),
    #[error("the samples are not those of task {task}")]
    Samples {
        task: String,
        #[source]
        source: models::ShapeError,
    },
    #[error(
        "task {task} takes features, not raw samples: send {{\"features\": [...]}} with {width} values, \
         or {width} little-endian f32"
    )]
    NoWindow { task: String, width: usize },
    #[error(
        "a message without a stream is one whole window of task {task}, {length} samples of \
         {channels} channels; name the stream ({{\"stream\": ...}} or .../sample/STREAM) to send any \
         number of samples at a time"
    )]
    NotWhole { task: String, length: usize, channels: usize },
    #[error("the message names stream {said:?}, and its topic another one")]
    TwoStreams { said: String },
    #[error("the message makes {rows} samples; at most {ROWS_MAX} are answered at a time")]
    TooMany { rows: usize },
    #[error("no answer of task {task} was given here that a button could be about")]
    NoAnswer { task: String },
    #[error("{label:?} is no class of task {task}; the classes are {classes}")]
    NoClass { task: String, label: String, classes: String },
}

/// How a line ended.
enum End {
    /// We were told to stop, and have said goodbye.
    Drained,
    /// The next one brings what was left with the broker.
    Renewed,
    Broke(String),
}

impl Session {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { place, desk, corrections, changed, counts, drain } = parts;
        let topics = Topics::new(&place.site, &place.device);
        Self {
            place: Arc::new(place),
            topics,
            desk,
            corrections,
            changed,
            counts,
            drain,
            ledger: Ledger::default(),
            streams: Streams::default(),
            working: FuturesOrdered::new(),
            letters: VecDeque::new(),
            saying: VecDeque::new(),
            said: VecDeque::new(),
            windows: BTreeMap::new(),
            announced: BTreeMap::new(),
            last: BTreeMap::new(),
            left: false,
        }
    }

    /// Lives until it is told to stop.
    pub(super) async fn live(mut self) {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        while !self.drain.asked() {
            let (mouth, news) = line::begin(&self.place, self.topics.status());
            let end = self.attend(&mouth, news, &mut backoff).await;
            self.counts.connected.store(0, Relaxed);
            self.lost();
            match end {
                End::Drained => return,
                End::Renewed => {}
                End::Broke(reason) => {
                    let wait = backoff.wait();
                    self.counts.lost.fetch_add(1, Relaxed);
                    tracing::warn!(
                        broker = %self.place.broker, reason, ?wait,
                        "no line to the broker; it is tried again"
                    );
                    tokio::select! {
                        () = self.drain.wait() => {}
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        }
    }

    /// Hears and answers on one line until it breaks or we are told to stop.
    async fn attend(
        &mut self,
        mouth: &Mouth,
        mut news: mpsc::Receiver<News>,
        backoff: &mut Backoff,
    ) -> End {
        let mut up = false;
        let mut listened = BTreeSet::new();
        let mut farewell: Option<Instant> = None;
        loop {
            if up && let Err(stuck) = self.pump(mouth) {
                return End::Broke(stuck.to_string());
            }
            if (farewell.is_some() || self.left) && self.is_idle() {
                mouth.leave();
                // The line says so when it is gone.
                while news.recv().await.is_some() {}
                self.left = false;
                return if farewell.is_some() { End::Drained } else { End::Renewed };
            }
            let ending = async {
                match farewell {
                    Some(latest) => tokio::time::sleep_until(latest).await,
                    None => self.drain.wait().await,
                }
            };
            let room = self.letters.len() < LETTERS_MAX;
            tokio::select! {
                heard = news.recv() => match heard {
                    Some(News::Up { known }) => {
                        up = true;
                        backoff.reset();
                        self.counts.connected.store(1, Relaxed);
                        tracing::info!(broker = %self.place.broker, known, "at the broker");
                        if !known {
                            self.ledger.forgotten();
                        }
                        if let Err(stuck) = self.arrive(mouth, &mut listened) {
                            return End::Broke(stuck.to_string());
                        }
                    }
                    Some(News::Came(message)) => {
                        // What comes while we leave is brought to the next one.
                        if farewell.is_none() {
                            self.take(message);
                        }
                    }
                    Some(News::Sent(packet)) => {
                        if let Some(letter) = self.saying.pop_front() {
                            self.said.push_back((packet, letter));
                        }
                    }
                    Some(News::Confirmed { packet, taken }) => self.confirm(packet, taken),
                    Some(News::Deaf) => tracing::warn!(
                        broker = %self.place.broker,
                        "the broker does not let this worker listen to all that it should"
                    ),
                    Some(News::Broke(reason)) => return End::Broke(reason),
                    None => return End::Broke("the line failed".to_owned()),
                },
                Some(done) = self.working.next(), if room => self.finish(done),
                Ok(()) = self.changed.changed(), if up => {
                    if let Err(stuck) = self.arrive(mouth, &mut listened) {
                        return End::Broke(stuck.to_string());
                    }
                }
                () = ending => {
                    if farewell.is_some() || !up {
                        mouth.leave();
                        return End::Drained;
                    }
                    farewell = Some(Instant::now() + FAREWELL_MAX);
                    self.letters.push_back(self.status(line::OFFLINE));
                }
            }
        }
    }

    /// Whether nothing is left to be said or worked on.
    fn is_idle(&self) -> bool {
        self.working.is_empty()
            && self.letters.is_empty()
            && self.saying.is_empty()
            && self.said.is_empty()
    }

    /// Says what is to be said and acknowledges what is due, as far as there is room.
    fn pump(&mut self, mouth: &Mouth) -> Result<(), Stuck> {
        while self.saying.len() + self.said.len() < LETTERS_MAX
            && let Some(letter) = self.letters.pop_front()
        {
            let said = mouth.say(&letter);
            self.saying.push_back(letter);
            said?;
        }
        while let Some(packet) = self.ledger.take_due() {
            mouth.acknowledge(packet)?;
        }
        Ok(())
    }

    /// What was said on a line that broke is to be said again, in its order.
    fn lost(&mut self) {
        let said = self.said.drain(..).map(|(_, letter)| letter);
        let again: Vec<Letter> = said.chain(self.saying.drain(..)).collect();
        for letter in again.into_iter().rev() {
            self.letters.push_front(letter);
        }
        // What is retained is said anew on each line.
        self.letters.retain(|letter| !letter.retain || letter.payload.is_empty());
        self.left = false;
        self.ledger.lost();
    }

    fn confirm(&mut self, packet: u16, taken: bool) {
        let at = self.said.iter().position(|(it, _)| *it == packet);
        let Some((_, letter)) = at.and_then(|at| self.said.remove(at)) else { return };
        if !taken {
            self.counts.refused.fetch_add(1, Relaxed);
            tracing::warn!(topic = letter.topic, "the broker does not take what is said there");
        }
        if let Some(number) = letter.answers {
            self.ledger.confirmed(number);
        }
    }

    fn status(&self, state: &str) -> Letter {
        let topic = self.topics.status().to_owned();
        Letter::new(topic, state.to_owned(), true)
    }

    /// Listens to what is served now, and tells Home Assistant of it.
    fn arrive(&mut self, mouth: &Mouth, listened: &mut BTreeSet<String>) -> Result<(), Stuck> {
        self.changed.borrow_and_update();
        let set = self.desk.served();
        let first = listened.is_empty();
        let wanted: BTreeSet<String> = set
            .tasks
            .keys()
            .flat_map(|task| self.topics.of_task(task))
            .chain(self.topics.of_worker())
            .collect();
        mouth.listen(wanted.difference(listened).cloned())?;
        for topic in listened.difference(&wanted) {
            mouth.ignore(topic.clone())?;
        }
        *listened = wanted;
        if first {
            self.letters.push_front(self.status(line::ONLINE));
        }
        self.streams.keep(|task| set.tasks.contains_key(task));
        self.windows.retain(|task, _| set.tasks.contains_key(task));
        self.last.retain(|task, _| set.tasks.contains_key(task));
        let gone: Vec<String> =
            self.announced.keys().filter(|it| !set.tasks.contains_key(*it)).cloned().collect();
        for task in gone {
            self.announced.remove(&task);
            self.announce(&task, None);
        }
        for (task, served) in &set.tasks {
            let classes = served.schema().classes();
            if first || self.announced.get(task).is_none_or(|known| known != classes) {
                self.announced.insert(task.clone(), classes.to_vec());
                self.announce(task, Some(classes));
            }
        }
        Ok(())
    }

    fn announce(&mut self, task: &str, classes: Option<&[String]>) {
        let places = Places {
            site: &self.place.site,
            device: &self.place.device,
            task,
            status: self.topics.status(),
            prediction: self.topics.prediction(task),
            right: self.topics.button(task, Button::Right),
            wrong: self.topics.button(task, Button::Wrong),
            class: self.topics.button(task, Button::Class),
        };
        self.letters.extend(letter::announcements(&places, classes));
    }

    /// Takes a message, or leaves it with the broker when there is no room: then those behind it, too,
    /// so that their order holds.
    fn take(&mut self, message: Message) {
        let Message { packet, retained, topic, payload, content_type, escort } = message;
        let escort = escort.map(|it| *it).unwrap_or_default();
        if self.left && packet != 0 {
            return;
        }
        let number = match self.ledger.enter(Print::of(packet, &topic, &payload)) {
            Entered::New(number) => number,
            Entered::Again => {
                self.counts.again.fetch_add(1, Relaxed);
                return;
            }
            Entered::Full if packet == 0 => {
                self.counts.dropped.fetch_add(1, Relaxed);
                return;
            }
            Entered::Full => {
                self.left = true;
                return;
            }
        };
        // What was retained is old: it was said to whoever listened then.
        let about = if retained { None } else { self.topics.about(&topic) };
        match about {
            None => self.ledger.worked(number, 0),
            Some(About::Birth) => {
                // Home Assistant keeps what is retained; a new one is told all the same.
                for (task, classes) in self.announced.clone() {
                    self.announce(&task, Some(&classes));
                }
                self.ledger.worked(number, 0);
            }
            Some(About::Sample { task, stream }) => {
                self.counts.samples.fetch_add(1, Relaxed);
                let mut echo = Echo { id: None, stream };
                match self.rows(&task, &mut echo, &payload, content_type.as_deref()) {
                    Ok(None) => self.ledger.worked(number, 0),
                    Ok(Some(rows)) => self.predict(number, task, echo, rows, escort),
                    Err(trouble) => self.refuse(number, &task, "sample", &echo, &trouble),
                }
            }
            Some(About::Correction { task }) => {
                self.counts.corrections.fetch_add(1, Relaxed);
                match payload::correction(&payload) {
                    Ok(payload::Correction { prediction_id, label }) => {
                        // What is not hexadecimal is no id of 16 bytes either, and is refused as that.
                        let id = runtime::secret::unhex(&prediction_id).unwrap_or_default();
                        self.correct(number, task, "correction", (id, label), escort);
                    }
                    // Everybody at the site has heard it; those who serve the task say what is wrong.
                    Err(_) if !self.serves(&task) => self.ledger.worked(number, 0),
                    Err(error) => {
                        self.refuse(number, &task, "correction", &Echo::default(), &error.into());
                    }
                }
            }
            Some(About::Button { task, button }) => {
                self.counts.corrections.fetch_add(1, Relaxed);
                self.press(number, task, button, &payload, escort);
            }
        }
    }

    fn serves(&self, task: &str) -> bool {
        self.desk.served().tasks.contains_key(task)
    }

    /// The rows of features that a message makes, and how wide they are; `None` while no window is
    /// whole.
    fn rows(
        &mut self,
        task: &str,
        echo: &mut Echo,
        bytes: &[u8],
        content_type: Option<&str>,
    ) -> Result<Option<(usize, Vec<f32>)>, Trouble> {
        let served = self.desk.find(task, "")?;
        let Sample { id, stream, content } = payload::sample(bytes, content_type)?;
        echo.id = id;
        if let Some(said) = stream {
            if echo.stream.as_ref().is_some_and(|topic| *topic != said) {
                return Err(Trouble::TwoStreams { said: shortened(&said) });
            }
            echo.stream = Some(said);
        }
        let width = served.schema().width();
        let (window, values) = match (self.window(&served), content) {
            (_, Content::Features(features)) => return Ok(Some((features.len(), features))),
            (None, Content::Raw(values)) if echo.stream.is_none() => {
                return many(task, width, values).map(Some);
            }
            (None, Content::Raw(_) | Content::Channels(_)) => {
                return Err(Trouble::NoWindow { task: task.to_owned(), width });
            }
            (Some(window), Content::Raw(values)) => (window, values),
            (Some(window), Content::Channels(channels)) => {
                let values = payload::rows(channels, window.channels())?;
                (window, values)
            }
        };
        let wrong = |source| Trouble::Samples { task: task.to_owned(), source };
        let Some(stream) = &echo.stream else {
            let channels = window.channels().len();
            if values.len() != window.length() * channels {
                let length = window.length();
                return Err(Trouble::NotWhole { task: task.to_owned(), length, channels });
            }
            let samples = models::Features::new(channels, values).map_err(wrong)?;
            return Ok(Some((width, window.features(samples.values()).map_err(wrong)?)));
        };
        let input = (served.wanted.input.as_str(), &*window);
        let features = self.streams.push(task, stream, input, &values, Instant::now());
        let features = features.map_err(wrong)?;
        if features.is_empty() { Ok(None) } else { many(task, window.width(), features).map(Some) }
    }

    /// The window of a task, from its orders.
    fn window(&mut self, served: &Served) -> Option<Arc<Window>> {
        let (task, input) = (&served.wanted.task, &served.wanted.input);
        if self.windows.get(task).is_none_or(|(known, _)| known != input) {
            let window = streams::window(input).map(Arc::new);
            self.windows.insert(task.clone(), (input.clone(), window));
        }
        self.windows.get(task).and_then(|(_, window)| window.clone())
    }

    fn predict(
        &mut self,
        number: Number,
        task: String,
        echo: Echo,
        (width, values): (usize, Vec<f32>),
        escort: Escort,
    ) {
        let (desk, counts) = (Arc::clone(&self.desk), Arc::clone(&self.counts));
        let place = Arc::clone(&self.place);
        let (prediction, error) = (self.topics.prediction(&task), self.topics.error(&task));
        let (escort, opened) = desk.open(escort, Call::Mqtt("sample"), Instant::now());
        self.working.push_back(Box::pin(async move {
            let answered = answers(&desk, &task, width, values, &escort).await;
            let properties = escort.properties();
            match opened.mqtt(answered) {
                Ok(replies) => {
                    let many = 1 < replies.len();
                    let letters = replies.iter().enumerate().map(|(row, reply)| {
                        let row = many.then_some(row);
                        let letter = letter::prediction(
                            &prediction,
                            &task,
                            &place.device,
                            &echo,
                            row,
                            reply,
                        );
                        Letter { properties: properties.clone(), ..letter }
                    });
                    let letters: Vec<Letter> = letters.collect();
                    counts
                        .predictions
                        .fetch_add(u64::try_from(letters.len()).unwrap_or(0), Relaxed);
                    let last = replies
                        .last()
                        .map(|it| (task.clone(), it.prediction_id.to_vec(), it.class.clone()));
                    Done { number, letters, last }
                }
                Err(trouble) => {
                    counts.errors.fetch_add(1, Relaxed);
                    let text = Report(&trouble).to_string();
                    let letter = letter::error(error, &place.device, "sample", &echo, &text);
                    let letter = Letter { properties, ..letter };
                    Done { number, letters: vec![letter], last: None }
                }
            }
        }));
    }

    fn correct(
        &mut self,
        number: Number,
        task: String,
        about: &'static str,
        (prediction_id, label): (Vec<u8>, String),
        escort: Escort,
    ) {
        let (corrections, counts) = (Arc::clone(&self.corrections), Arc::clone(&self.counts));
        let (desk, place) = (Arc::clone(&self.desk), Arc::clone(&self.place));
        let (error, serves) = (self.topics.error(&task), self.serves(&task));
        let (escort, opened) = desk.open(escort, Call::Mqtt(about), Instant::now());
        self.working.push_back(Box::pin(async move {
            let taken = corrected(&desk, &corrections, (prediction_id, label), &escort).await;
            let letters = match opened.mqtt(taken) {
                Ok(()) => Vec::new(),
                // Whoever gave the answer takes the correction; we have only heard it, too.
                Err(CorrectError::Unknown) if !serves => Vec::new(),
                Err(trouble) => {
                    counts.errors.fetch_add(1, Relaxed);
                    let text = Report(&trouble).to_string();
                    let letter =
                        letter::error(error, &place.device, about, &Echo::default(), &text);
                    vec![Letter { properties: escort.properties(), ..letter }]
                }
            };
            Done { number, letters, last: None }
        }));
    }

    /// A button was pressed or a class chosen.
    fn press(
        &mut self,
        number: Number,
        task: String,
        button: Button,
        payload: &[u8],
        escort: Escort,
    ) {
        let Some(last) = self.last.get_mut(&task) else {
            let trouble = Trouble::NoAnswer { task: task.clone() };
            return self.refuse(number, &task, button.name(), &Echo::default(), &trouble);
        };
        match button {
            Button::Right => {
                let Last { prediction_id, class, .. } = last.clone();
                self.correct(number, task, button.name(), (prediction_id, class), escort);
            }
            Button::Wrong => {
                // What it should have been is said next; answers that are given until then do not
                // take its place.
                last.wrong = Some(last.prediction_id.clone());
                self.ledger.worked(number, 0);
            }
            Button::Class => {
                let label = String::from_utf8_lossy(payload).into_owned();
                let id = last.wrong.clone().unwrap_or_else(|| last.prediction_id.clone());
                let classes = self.announced.get(&task);
                if classes.is_some_and(|it| !it.contains(&label)) {
                    let classes = classes.map(|it| names(it.iter())).unwrap_or_default();
                    let (task, label) = (task.clone(), shortened(&label));
                    let trouble = Trouble::NoClass { task: task.clone(), label, classes };
                    return self.refuse(number, &task, button.name(), &Echo::default(), &trouble);
                }
                last.wrong = None;
                self.correct(number, task, button.name(), (id, label), escort);
            }
        }
    }

    fn refuse(&mut self, number: Number, task: &str, about: &str, echo: &Echo, trouble: &Trouble) {
        self.counts.errors.fetch_add(1, Relaxed);
        let text = Report(trouble).to_string();
        tracing::debug!(task.id = shortened(task), error = text, "message refused");
        let error = self.topics.error(task);
        let letter = letter::error(error, &self.place.device, about, echo, &text);
        self.finish(Done { number, letters: vec![letter], last: None });
    }

    fn finish(&mut self, done: Done) {
        let Done { number, letters, last } = done;
        self.ledger.worked(number, letters.len());
        let numbered = |letter| Letter { answers: Some(number), ..letter };
        self.letters.extend(letters.into_iter().map(numbered));
        if let Some((task, prediction_id, class)) = last {
            let wrong = self.last.get(&task).and_then(|last| last.wrong.clone());
            self.last.insert(task, Last { prediction_id, class, wrong });
        }
    }
}

/// Rows of `width` values, bounded.
fn many(task: &str, width: usize, values: Vec<f32>) -> Result<(usize, Vec<f32>), Trouble> {
    let ragged = |source| Trouble::Samples { task: task.to_owned(), source };
    if !values.len().is_multiple_of(width) {
        return Err(ragged(models::ShapeError::Ragged { values: values.len(), width }));
    }
    let rows = values.len() / width;
    if ROWS_MAX < rows {
        return Err(Trouble::TooMany { rows });
    }
    Ok((width, values))
}

/// Answers rows of features, after a moment if they cannot be answered at once.
async fn answers(
    desk: &Arc<Desk>,
    task: &str,
    width: usize,
    values: Vec<f32>,
    escort: &Escort,
) -> Result<Vec<v1::PredictReply>, Trouble> {
    let mut backoff = Backoff::new(AGAIN.1, AGAIN.1 * 32);
    let width = u32::try_from(width).unwrap_or(u32::MAX);
    for again in (0..AGAIN.0).rev() {
        let admitted = desk.admit_in_turn().await?;
        let request = v1::PredictBatchRequest {
            task: task.to_owned(),
            width,
            values: values.clone(),
            ..v1::PredictBatchRequest::default()
        };
        let terms = Terms::new(Instant::now(), None);
        match desk.predict_batch(request, terms, escort).await {
            Ok(reply) => return Ok(reply.answers),
            Err(error) if again == 0 || error.retry().is_none() => return Err(error.into()),
            Err(_) => {}
        }
        drop(admitted);
        tokio::time::sleep(backoff.wait()).await;
    }
    Err(PredictError::Broken.into())
}

/// Takes a correction, durably, after a moment if it cannot be taken at once.
async fn corrected(
    desk: &Desk,
    corrections: &Corrections,
    (prediction_id, label): (Vec<u8>, String),
    escort: &Escort,
) -> Result<(), CorrectError> {
    let mut backoff = Backoff::new(AGAIN.1, AGAIN.1 * 32);
    for again in (0..AGAIN.0).rev() {
        let request = v1::CorrectRequest {
            prediction_id: prediction_id.clone().into(),
            label: label.clone(),
        };
        let taken = {
            let admitted = desk.admit_in_turn().await;
            let _admitted = admitted.map_err(|full| CorrectError::Busy(Box::new(full)))?;
            corrections.correct(request, escort).await
        };
        match taken {
            Ok(_) => return Ok(()),
            Err(error) if again == 0 || error.retry().is_none() => return Err(error),
            Err(_) => tokio::time::sleep(backoff.wait()).await,
        }
    }
    Err(CorrectError::Broken)
}
