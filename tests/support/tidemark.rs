//! The real `tidemark` binary as a child process.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use serde_json::Value;

use super::{http, poll_until, wait_until};

/// Lines of the child's log that a failed test shows.
const SHOWN_LINES: usize = 60;

/// Runs a command to its end, and gives its output.
pub fn run(arguments: &[&str]) -> Output {
    command().args(arguments).stdin(Stdio::null()).output().expect("tidemark starts")
}

/// Like [`run`], for a command that must succeed: its standard output.
pub fn run_well(arguments: &[&str]) -> String {
    let output = run(arguments);
    let printed = String::from_utf8(output.stdout).expect("standard output is text");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tidemark {arguments:?} failed ({}):\n{printed}{errors}", output.status);
    printed
}

/// The binary, so that it does not outlive the thread that starts it, not even if that is killed.
fn command() -> Command {
    let binary = env!("CARGO_BIN_EXE_tidemark");
    if !cfg!(target_os = "linux") {
        return Command::new(binary);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", binary]);
    command
}

/// A running `tidemark`; what it prints goes to a file, which a failing test shows. Killed on drop.
pub struct Running {
    name: String,
    child: Child,
    log: PathBuf,
    /// Where its own part of the log begins.
    log_start: usize,
}

impl Running {
    /// Starts it; `name` names it in the test's output, its log file is made in `directory`, and is
    /// continued if it is there.
    pub fn start(name: &str, directory: &Path, arguments: &[&str]) -> Self {
        Self::start_with(name, directory, arguments, &[])
    }

    /// Like [`Self::start`], with these variables in its environment.
    pub fn start_with(name: &str, directory: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let log = directory.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).expect("a log file");
        let log_start = file.metadata().expect("the size of the log").len() as usize;
        let child = command()
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a second handle"))
            .stderr(file)
            .spawn()
            .expect("tidemark starts");
        Self { name: name.to_owned(), child, log, log_start }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the child can be asked").is_none()
    }

    /// Ends it as a crash would (SIGKILL).
    pub fn kill(&mut self) {
        self.child.kill().expect("the child can be killed");
        self.child.wait().expect("the child ends");
    }

    /// Asks it to end (SIGTERM) as soon as it says that it is there, and gives its status.
    ///
    /// # Panics
    /// If it has not ended within `limit`, or says nothing for as long.
    pub fn terminate(&mut self, limit: Duration) -> ExitStatus {
        wait_until(&format!("the first words of {}", self.name), limit, || self.address());
        self.signal("TERM");
        self.wait(limit)
    }

    /// Sends a signal, by its name without `SIG`.
    pub fn signal(&self, signal: &str) {
        // A shell has `kill` built in; the program is not on every machine.
        let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {}", self.child.id())]).status();
        assert!(sent.expect("sh starts").success(), "cannot send {signal} to {}", self.name);
    }

    /// Like [`Self::signal`], unless it has ended.
    pub fn signal_if_running(&mut self, signal: &str) {
        if self.is_running() {
            self.signal(signal);
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it has not ended within `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        wait_until(&format!("the end of {}", self.name), limit, || {
            self.child.try_wait().expect("the child can be asked")
        })
    }

    /// Waits for its end, and gives nothing if it has not ended within `limit`.
    pub fn try_wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        poll_until(limit, || self.child.try_wait().expect("the child can be asked"))
    }

    /// Whether a signal has stopped it (SIGSTOP), as Linux tells.
    pub fn is_stopped(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        status.lines().any(|line| line.starts_with("State:") && line.contains('T'))
    }

    /// Where it serves HTTP, which its log tells; nothing until it does.
    pub fn address(&self) -> Option<SocketAddr> {
        let log = self.log();
        let told = log[self.log_start..].lines().find_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            Some(line["http"].as_str()?.to_owned())
        });
        told?.parse().ok()
    }

    /// Status and body of one of its pages.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn get(&self, path: &str) -> (u16, String) {
        let address = self.address().unwrap_or_else(|| panic!("{} does not say where it serves HTTP", self.name));
        http::get(address, path).unwrap_or_else(|error| panic!("{} does not answer at {path}: {error}", self.name))
    }

    /// Whether it says that it is ready.
    pub fn is_ready(&self) -> bool {
        self.address().is_some_and(|address| http::get(address, "/readyz").is_ok_and(|(status, _)| status == 200))
    }

    /// All that it has printed, and before that what earlier processes of its name have.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("the log can be read")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
            eprintln!("--- the end of what {} printed ({})\n{shown}\n---", self.name, self.log.display());
        }
    }
}
