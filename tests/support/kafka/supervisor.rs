//! The process that runs a broker: it takes orders, and takes the broker with it when the test ends.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// Runs the arguments after the first, which names a directory, until standard input ends; then kills
/// them and removes the directory. The test process holds the other end of that pipe, so the broker
/// goes with it even if it is killed. Signals to the process group are left to the test process.
///
/// Lines of standard input are orders; each is answered by a line when it is carried out.
const SUPERVISE: &str = r#"
trap '' INT TERM HUP
dir=$1; shift
launch() {
    # Ignored signals are inherited, and a JVM heeds that: it must be able to stop in order.
    (trap - TERM; exec "$@") </dev/null >>"$dir/broker.log" 2>&1 &
    broker=$!
    echo $broker >"$dir/pid"
}
launch "$@"
while read -r order; do
    case $order in
        kill) kill -9 $broker; wait $broker ;;
        stop) kill -TERM $broker; wait $broker ;;
        start) launch "$@" ;;
    esac
    echo done
done
kill -9 $broker
wait $broker
rm -rf "$dir"
"#;

/// A broker's process, by way of its supervisor. Dropping it ends both.
pub(super) struct Supervisor {
    child: Child,
    // Closing it is what stops the broker.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Supervisor {
    /// Runs a command; the supervisor removes `directory` at the end.
    pub(super) fn start(directory: &Path, command: &[String]) -> Result<Self, String> {
        let mut child = Command::new("sh")
            .args(["-c", SUPERVISE, "supervise"])
            .arg(directory)
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("`sh` cannot be started: {error}"))?;
        let answers = BufReader::new(child.stdout.take().expect("its output is piped"));
        Ok(Self { orders: child.stdin.take(), answers, child })
    }

    /// Gives an order, and returns when it is carried out.
    pub(super) fn order(&mut self, order: &str) {
        let orders = self.orders.as_mut().expect("it takes orders until it is dropped");
        writeln!(orders, "{order}").expect("the supervisor lives");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("the supervisor answers");
        assert_eq!(answer, "done\n", "the supervisor's answer to `{order}`");
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}
