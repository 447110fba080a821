//! A real Prometheus that scrapes one process.

use std::{
    fs::{self, File},
    io,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use super::{http::get, poll_until};

/// How long it may take to come up on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running Prometheus. Killed on drop.
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
}

impl Prometheus {
    /// Starts one that keeps its data in `directory` and scrapes `target` every second as the job
    /// `tidemark`. Nothing if the program is not installed.
    pub fn start(directory: &Path, target: SocketAddr) -> Option<Self> {
        let config = directory.join("prometheus.yml");
        let text = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\n\
             scrape_configs: [{{ job_name: tidemark, static_configs: [{{ targets: ['{target}'] }}] }}]\n"
        );
        fs::write(&config, text).expect("the configuration can be written");
        // Whoever takes the port in between makes the start fail, and the test with it.
        let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
        let log = File::create(directory.join("prometheus.log")).expect("a log file");
        let started = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let child = match started {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            started => started.expect("prometheus starts"),
        };
        let started = Self { child, address };
        let ready = poll_until(START_LIMIT, || get(address, "/-/ready").ok().filter(|(status, _)| *status == 200));
        let log = || fs::read_to_string(directory.join("prometheus.log")).unwrap_or_default();
        assert!(ready.is_some(), "prometheus does not become ready:\n{}", log());
        Some(started)
    }

    /// The values that an instant query gives.
    ///
    /// # Panics
    /// If Prometheus refuses the query.
    pub fn query(&self, expr: &str) -> Vec<f64> {
        let (status, body) = get(self.address, &format!("/api/v1/query?query={}", escaped(expr))).expect("an answer");
        assert_eq!(status, 200, "{expr}: {body}");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        let series = answer["data"]["result"].as_array().expect("a vector");
        let value =
            |series: &Value| series["value"][1].as_str().and_then(|value| value.parse().ok()).expect("a number");
        series.iter().map(value).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'-' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}
