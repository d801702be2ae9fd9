//! Servers as processes: pinned to a core, watched through /proc, gone with the value that holds them.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use benches::folder::Fault;
use tokio::time::Instant;

/// Which core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Core(pub(crate) usize);

/// The server's core. The generator has [`CLIENT`], unless both share this one.
pub(crate) const SERVER: Core = Core(0);
/// The generator's core.
pub(crate) const CLIENT: Core = Core(1);

/// `program`, to be run on `core` alone.
pub(crate) fn pinned(core: Core, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &core.0.to_string()]).arg(program);
    for library in ["OMP", "OPENBLAS", "MKL"] {
        command.env(format!("{library}_NUM_THREADS"), "1");
    }
    command
}

/// Keeps this thread, and those that it starts, on `core`: nobody but the server has the server's.
pub(crate) fn stay_on(core: Core) -> io::Result<()> {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core.0);
    Ok(rustix::thread::sched_setaffinity(None, &cores)?)
}

/// Puts this thread behind others of its core: who disturbs the server is not to take the core from whoever
/// measures it.
pub(crate) fn step_back() -> io::Result<()> {
    // On Linux a priority is a thread's.
    Ok(rustix::process::setpriority_process(None, NICE_MAX)?)
}

/// The least preferred of all.
const NICE_MAX: i32 = 19;

/// Keeps `core` from sleeping for as long as what is returned lives: a process at idle priority that runs when nobody
/// else does, and gives way to whoever wakes up.
///
/// An idle core of a virtual machine is stopped by its host and takes up to milliseconds to start again, which is
/// then the tail of whatever is measured. On a machine of one's own this is what `idle=poll` does.
pub(crate) fn keep_awake(core: Core) -> io::Result<Process> {
    let mut command = Command::new("chrt");
    command.args(["--idle", "0", "taskset", "--cpu-list", &core.0.to_string()]);
    Process::start(command.arg(std::env::current_exe()?).arg("awake"))
}

/// The process of [`keep_awake`]; ends when its parent does.
pub(crate) fn stay_awake() -> Result<std::convert::Infallible, Fault> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    loop {
        rustix::thread::sched_yield();
    }
}

/// A process that is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        command.stdin(Stdio::null()).spawn().map(Self)
    }

    /// Processor seconds so far, all threads together.
    pub(crate) fn cpu_s(&self) -> Result<f64, Fault> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // The name may hold anything, also blanks; what follows its bracket does not.
        let rest = stat.rsplit_once(')').ok_or("no name in stat")?.1;
        let mut fields = rest.split_whitespace().skip(11);
        let mut ticks = || fields.next().and_then(|it| it.parse::<f64>().ok());
        let (user, system) = (ticks().ok_or("no time in stat")?, ticks().ok_or("no time")?);
        // Linux counts in hundredths on every machine that we build for.
        Ok((user + system) / 100.0)
    }

    /// Memory that is in use.
    pub(crate) fn rss_mib(&self) -> Result<f64, Fault> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|it| it.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
        Ok(kib.ok_or("no VmRSS in status")? / 1024.0)
    }

    /// Open file descriptors.
    pub(crate) fn descriptors(&self) -> Result<usize, Fault> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.0.id()))?.count())
    }

    /// Asks it to end, waits until it has.
    pub(crate) fn terminate(mut self, patience: Duration) -> Result<(), Fault> {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let until = Instant::now() + patience;
        while self.0.try_wait()?.is_none() {
            if until < Instant::now() {
                return Err("it did not end when it was told to".into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// A free port of this machine, as `127.0.0.1:PORT`; whoever gets it must take it soon.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// Waits until somebody accepts connections there, as long as `process` lives.
pub(crate) fn until_it_listens(
    address: SocketAddr,
    process: &mut Process,
    patience: Duration,
) -> Result<(), Fault> {
    let until = Instant::now() + patience;
    while TcpStream::connect(address).is_err() {
        if let Some(status) = process.0.try_wait()? {
            return Err(format!("the server ended with {status} before it listened").into());
        }
        if until < Instant::now() {
            return Err(format!("no server at {address} after {} s", patience.as_secs()).into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
