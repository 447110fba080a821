//! Why connections fail. The library's answers only say that there was none in time; the reason,
//! such as a wrong password, is in what it logs.

/// The line that tells most, of those about failed connections, and what to look at.
pub(super) fn reason(lines: &[String]) -> Option<String> {
    // A broker that is down hides no other that was there and refused.
    let line = lines.iter().rfind(|line| is_refusal(line)).or(lines.last())?;
    let text = without_thread(line);
    Some(advice(text).map_or(text.to_owned(), |advice| format!("{text}; {advice}")))
}

/// What to look at, where the library does not say it itself, as it does of certificates.
fn advice(text: &str) -> Option<&'static str> {
    if text.contains("SASL") {
        return Some("see `sasl.mechanism`, `sasl.username` and `sasl.password` in `kafka.properties`");
    }
    // The first thing that a client says.
    if text.contains("APIVERSION_QUERY") {
        return Some("is `security.protocol` in `kafka.properties` the one of that port?");
    }
    None
}

fn is_refusal(line: &str) -> bool {
    line.contains("SASL authentication error") || line.contains("SSL handshake failed")
}

/// A line begins with the thread that wrote it: `[thrd:…]: `.
fn without_thread(line: &str) -> &str {
    let rest = line.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: "));
    rest.map_or(line, |(_, rest)| rest).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_with_what_to_look_at_whatever_else_fails() {
        let refusal = "[thrd:sasl_ssl://a:1/bootstrap]: sasl_ssl://a:1/bootstrap: SASL authentication error: no";
        let down = "[thrd:b:1/bootstrap]: b:1/bootstrap: Connect failed: Connection refused";
        let told = |lines: &[&str]| reason(&lines.iter().map(|line| line.to_string()).collect::<Vec<_>>());
        for lines in [[refusal, down], [down, refusal]] {
            let told = told(&lines).unwrap();
            assert!(told.starts_with("sasl_ssl://a:1/bootstrap: SASL authentication error: no; see `sasl."), "{told}");
        }
        assert_eq!(told(&[down]).as_deref(), Some("b:1/bootstrap: Connect failed: Connection refused"));
        let early = told(&["a:1/bootstrap: Disconnected (after 0ms in state APIVERSION_QUERY)"]).unwrap();
        assert!(early.contains("`security.protocol`"), "{early}");
        assert_eq!(told(&[]), None);
    }
}
