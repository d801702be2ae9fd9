//! Work for the machine to be recognised by: real, bounded, and stopped when asked.
//!
//! Each  runs on threads of its own that look at a flag many times a second. None of them
//! takes both cores of a small machine for itself: serving goes on beside them.

use std::{
    fs::{self, File},
    hint::black_box,
    io::{self, Read, Seek, SeekFrom, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::time::Instant;

/// What the machine does; also the classes of the task, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Workload {
    /// Nothing: the background.
    Idle,
    /// Arithmetic on one thread.
    Cpu,
    /// Large buffers, allocated, filled, copied and given back.
    Memory,
    /// A file that is written, synced, and read back.
    Disk,
    /// A stream of bytes over loopback TCP.
    Network,
}

impl Workload {
    /// All of them, in the order of the classes.
    pub(crate) const ALL: [Self; 5] =
        [Self::Idle, Self::Cpu, Self::Memory, Self::Disk, Self::Network];

    /// The name of the class.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Network => "network",
        }
    }
}

/// How hard it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// As hard as it may: what is recorded for training.
    Full,
    /// A fraction of it, in small pieces: what the training never saw.
    Light,
}

impl Effort {
    /// The share of the time that is worked.
    fn duty(self, workload: Workload) -> f64 {
        match (self, workload) {
            // Two threads share this one.
            (Self::Full, Workload::Network) => 0.6,
            (Self::Full, Workload::Idle | Workload::Cpu | Workload::Memory | Workload::Disk) => 1.0,
            (Self::Light, Workload::Cpu) => 0.5,
            (Self::Light, Workload::Memory | Workload::Disk) => 0.3,
            (Self::Light, Workload::Idle | Workload::Network) => 0.15,
        }
    }

    fn pick<T>(self, full: T, light: T) -> T {
        match self {
            Self::Full => full,
            Self::Light => light,
        }
    }
}

/// Work and rest alternate this often, well below the time between two samples.
const CYCLE: Duration = Duration::from_millis(40);
/// Above the largest size that glibc serves from its heap: every buffer is fresh pages.
const BUFFER_BYTES: usize = 48 << 20;
/// Most that the file holds before it is written from its beginning again.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A workload that runs until it is stopped or dropped.
#[derive(Debug)]
pub(crate) struct Running {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    file: Option<PathBuf>,
}

impl Running {
    /// Starts it; `dir` is where the disk workload keeps its one file.
    ///
    /// # Errors
    ///
    /// When there is no thread, no loopback port or no file to be had.
    pub(crate) fn start(workload: Workload, effort: Effort, dir: &Path) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut running = Self { stop: Arc::clone(&stop), threads: Vec::new(), file: None };
        let pace = Pace { stop, duty: effort.duty(workload) };
        match workload {
            Workload::Idle => {}
            Workload::Cpu => running.spawn("load-cpu", move || {
                spin(&pace);
                Ok(())
            })?,
            Workload::Memory => {
                let bytes = effort.pick(BUFFER_BYTES, 3 << 20);
                running.spawn("load-memory", move || {
                    copy(&pace, bytes);
                    Ok(())
                })?;
            }
            Workload::Disk => {
                let path = dir.join("workload.tmp");
                let file = File::options()
                    .read(true)
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .open(&path)?;
                running.file = Some(path);
                let bytes = effort.pick(1 << 20, 64 << 10);
                running.spawn("load-disk", move || write_and_read(&pace, file, bytes))?;
            }
            Workload::Network => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
                let sender = TcpStream::connect(listener.local_addr()?)?;
                let (receiver, _) = listener.accept()?;
                sender.set_nodelay(true)?;
                sender.set_write_timeout(Some(CYCLE))?;
                let bytes = effort.pick(64 << 10, 1 << 10);
                running.spawn("load-receive", move || receive(receiver))?;
                running.spawn("load-send", move || send(&pace, sender, bytes))?;
            }
        }
        Ok(running)
    }

    fn spawn(
        &mut self,
        name: &str,
        work: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        self.threads.push(thread::Builder::new().name(name.to_owned()).spawn(work)?);
        Ok(())
    }

    /// Stops it and waits until it has; says why if it had failed.
    ///
    /// # Errors
    ///
    /// What went wrong in one of its threads.
    pub(crate) fn stop(mut self) -> io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let mut ended = Ok(());
        for thread in self.threads.drain(..) {
            let result =
                thread.join().unwrap_or_else(|_| Err(io::Error::other("a workload panicked")));
            ended = ended.and(result);
        }
        if let Some(path) = self.file.take() {
            let _gone_already = fs::remove_file(path);
        }
        ended
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _reported_by_stop = self.end();
    }
}

/// When to work, when to rest, when to stop.
struct Pace {
    stop: Arc<AtomicBool>,
    duty: f64,
}

impl Pace {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Calls `piece` for the worked share of each cycle until stopped.
    fn run(&self, mut piece: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        while !self.stopped() {
            let begun = Instant::now();
            let work = CYCLE.mul_f64(self.duty);
            while begun.elapsed() < work && !self.stopped() {
                piece()?;
            }
            if self.duty < 1.0 {
                // A piece that took long is followed by a rest that is long: the share holds.
                let rest = begun.elapsed().mul_f64((1.0 - self.duty) / self.duty);
                thread::sleep(rest.min(Duration::from_millis(100)));
            }
        }
        Ok(())
    }
}

fn spin(pace: &Pace) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let _never_fails = pace.run(|| {
        for _ in 0..20_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state = state.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        }
        black_box(state);
        Ok(())
    });
}

fn copy(pace: &Pace, bytes: usize) {
    const PIECE: usize = 1 << 20;
    let mut round = 0_u8;
    let _never_fails = pace.run(|| {
        round = round.wrapping_add(1);
        let mut from: Vec<u8> = Vec::with_capacity(bytes);
        let mut to: Vec<u8> = Vec::with_capacity(bytes);
        while from.len() < bytes && !pace.stopped() {
            from.resize(from.len() + PIECE, round);
        }
        for piece in from.chunks(PIECE) {
            if pace.stopped() {
                break;
            }
            to.extend_from_slice(piece);
        }
        black_box(&to);
        Ok(())
    });
}

fn write_and_read(pace: &Pace, mut file: File, bytes: usize) -> io::Result<()> {
    let mut buffer = vec![0xa5_u8; bytes];
    let step = u64::try_from(bytes).unwrap_or(FILE_BYTES_MAX);
    let mut at = 0;
    pace.run(|| {
        if FILE_BYTES_MAX < at + step {
            at = 0;
        }
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&buffer)?;
        file.sync_data()?;
        // Written pages are clean and may be dropped, so that the next read asks the disk.
        let _advice = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut buffer)?;
        at += step;
        Ok(())
    })
}

fn send(pace: &Pace, mut socket: TcpStream, bytes: usize) -> io::Result<()> {
    let buffer = vec![0x5a_u8; bytes];
    let sent = pace.run(|| match socket.write(&buffer) {
        Ok(_) => Ok(()),
        // The receiver is behind.
        Err(error) if is_timeout(&error) => Ok(()),
        Err(error) => Err(error),
    });
    // Ends the receiver.
    let _gone_already = socket.shutdown(std::net::Shutdown::Both);
    sent
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn receive(mut socket: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0_u8; 64 << 10];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => drop(black_box(&buffer[..read])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The sender closed with bytes on the way: that is how it ends.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_starts_at_both_efforts_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        for workload in Workload::ALL {
            for effort in [Effort::Full, Effort::Light] {
                let running = Running::start(workload, effort, dir.path()).unwrap();
                let threads = running.threads.len();
                assert_eq!(threads == 0, workload == Workload::Idle);
                running.stop().unwrap();
                assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{workload:?}");
            }
        }
    }

    #[test]
    fn what_is_dropped_is_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let running = Running::start(Workload::Disk, Effort::Full, dir.path()).unwrap();
        let stop = Arc::clone(&running.stop);
        drop(running);
        assert!(stop.load(Ordering::Relaxed));
        assert_eq!(Arc::strong_count(&stop), 1, "no thread holds the flag any more");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_workload_that_cannot_start_says_so() {
        let nowhere = Path::new("/nonexistent-folder-of-a-test");
        assert!(Running::start(Workload::Disk, Effort::Full, nowhere).is_err());
    }
}
