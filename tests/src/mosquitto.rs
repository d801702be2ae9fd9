//! A broker of the story's own, which can be killed and started again with what it had on disk.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{skip::skip, wait::until};

/// Longest wait for a broker to listen.
const START_MAX: Duration = Duration::from_secs(20);

/// Mosquitto on a free port of this machine.
pub struct Mosquitto {
    program: PathBuf,
    folder: PathBuf,
    port: u16,
    child: Child,
}

impl Mosquitto {
    /// Starts one that keeps what it has in `folder`; the story `name` is skipped when there is none
    /// to start.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn start(name: &str, folder: &Path) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Debian puts it where only root looks.
        let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
        let program = places.map(|place| place.join("mosquitto")).find(|it| it.is_file());
        let Some(program) = program else {
            skip(name, "mosquitto is not here; `apt-get install mosquitto` brings it");
            return None;
        };
        fs::create_dir_all(folder).expect("a story may write to its folder");
        let folder = folder.to_owned();
        // Somebody may take the port between the question and the start: ask for another one then.
        let started = (0..5).find_map(|_| {
            let free = TcpListener::bind("127.0.0.1:0").expect("a port is free");
            let port = free.local_addr().expect("it is bound").port();
            drop(free);
            let child = run(&program, &folder, port)?;
            Some((port, child))
        });
        let (port, child) = started.expect("mosquitto starts");
        Some(Self { program, folder, port, child })
    }

    /// Where it listens, as Sensemble is told.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Its port on this machine.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether `words` stand in what it would have after a kill.
    #[must_use]
    pub fn has_on_disk(&self, words: &str) -> bool {
        let stored = fs::read(self.folder.join("mosquitto.db")).unwrap_or_default();
        stored.windows(words.len()).any(|window| window == words.as_bytes())
    }

    /// Ends it at once.
    ///
    /// # Panics
    ///
    /// When it had ended before.
    pub fn kill_9(&mut self) {
        assert!(self.child.try_wait().is_ok_and(|it| it.is_none()), "it runs");
        self.child.kill().expect("it is our child");
        let _reaped = self.child.wait();
    }

    /// Starts it again on its port, with what it had on disk.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start_again(&mut self) {
        let again = || run(&self.program, &self.folder, self.port).ok_or("the port is taken");
        self.child = until("mosquitto to start again", START_MAX, again);
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Starts it and waits until it listens; `None` when it ended instead.
fn run(program: &Path, folder: &Path, port: u16) -> Option<Child> {
    let text = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\npersistence true\n\
         persistence_location {}/\nautosave_on_changes true\nautosave_interval 1\n",
        folder.display()
    );
    let path = folder.join("mosquitto.conf");
    fs::write(&path, text).expect("a story may write to its folder");
    let log = fs::File::create(folder.join("mosquitto.err")).expect("a story may write");
    let mut child = Command::new(program)
        .arg("-c")
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("mosquitto is a program");
    let listens = until("mosquitto to listen", START_MAX, || {
        if child.try_wait().is_ok_and(|it| it.is_some()) {
            return Ok(false);
        }
        std::net::TcpStream::connect(("127.0.0.1", port)).map(|_| true)
    });
    listens.then_some(child)
}
