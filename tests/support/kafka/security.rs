//! Certificates and passwords of a broker that lets nobody in without.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The only user that the broker knows, by either mechanism.
pub const USER: &str = "tidemark";
/// That user's password.
pub const PASSWORD: &str = "correct-horse-battery-staple";

/// Makes two authorities, and from one of them certificates for the broker and for a client. The
/// broker's are in the order that its PEM store wants: key, then certificate.
const MAKE: &str = r#"
set -e
key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key"; }
authority() {
    key "$1"
    openssl req -x509 -new -key "$1.key" -subj "/CN=$1" -days 2 -out "$1.pem"
}
certificate() {
    key "$1"
    openssl req -new -key "$1.key" -subj "/CN=$1" -out "$1.csr"
    echo "subjectAltName=IP:127.0.0.1" >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile "$1.ext" -out "$1.pem"
}
authority ca
authority foreign-ca
certificate broker
certificate client
cat broker.key broker.pem >broker-store.pem
"#;

/// What a client needs to be let in, as files.
pub struct Security {
    directory: PathBuf,
    /// Where certificates of clients are asked for instead of passwords.
    pub certificates_at: String,
}

impl Security {
    /// Makes keys and certificates in a directory.
    ///
    /// # Errors
    /// For a person: why there are none.
    pub fn make(directory: &Path, certificates_at: String) -> Result<Self, String> {
        let output = Command::new("sh")
            .args(["-c", MAKE])
            .current_dir(directory)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("`sh` cannot be started: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("`openssl` could not make certificates: {}", said.trim()));
        }
        fs::write(directory.join("password"), format!("{PASSWORD}\n"))
            .map_err(|error| format!("cannot write the password: {error}"))?;
        Ok(Self { directory: directory.to_owned(), certificates_at })
    }

    /// The path of `ca.pem`, `foreign-ca.pem`, `client.pem`, `client.key`, or `password`.
    pub fn file(&self, name: &str) -> String {
        self.directory.join(name).to_str().expect("the path is text").to_owned()
    }

    /// How the tests' own clients get in.
    pub(super) fn client_properties(&self) -> [(&'static str, String); 5] {
        [
            ("security.protocol", "sasl_ssl".to_owned()),
            ("ssl.ca.location", self.file("ca.pem")),
            ("sasl.mechanism", "SCRAM-SHA-512".to_owned()),
            ("sasl.username", USER.to_owned()),
            ("sasl.password", PASSWORD.to_owned()),
        ]
    }

    /// What the broker's storage is formatted with.
    pub(super) fn storage_arguments() -> [String; 2] {
        ["--add-scram".to_owned(), format!("SCRAM-SHA-512=[name={USER},password={PASSWORD}]")]
    }

    /// The broker's settings beyond its listeners.
    pub(super) fn server_properties(&self) -> String {
        let modules = "org.apache.kafka.common.security";
        format!(
            "ssl.keystore.type=PEM
ssl.keystore.location={store}
ssl.truststore.type=PEM
ssl.truststore.location={authority}
listener.name.ssl.ssl.client.auth=required
sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={modules}.scram.ScramLoginModule required;
listener.name.sasl_ssl.plain.sasl.jaas.config={modules}.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";
",
            store = self.file("broker-store.pem"),
            authority = self.file("ca.pem"),
        )
    }
}
