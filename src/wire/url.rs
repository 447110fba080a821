//! The parts of a URL that a `match` can read. Lenient: what trackers send is often not a URL by
//! the letter, and a part that is not there is just absent.

use std::borrow::Cow;

use memchr::{memchr, memchr2, memchr3};

/// A URL taken apart; nothing is decoded yet.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Url<'a> {
    /// User, host and port.
    authority: Option<&'a str>,
    path: &'a str,
    /// Query and fragment, each with the sign that begins it.
    tail: &'a str,
}

impl<'a> Url<'a> {
    /// Takes `https://user@host:port/path?query#fragment` apart; also `//host/path` and `/path`.
    pub fn split(url: &'a str) -> Self {
        let Some(rest) = after_scheme(url) else {
            let (path, tail) = split_at(url, memchr2(b'?', b'#', url.as_bytes()));
            return Self { authority: None, path, tail };
        };
        let (authority, rest) = split_at(rest, memchr3(b'/', b'?', b'#', rest.as_bytes()));
        let (path, tail) = split_at(rest, memchr2(b'?', b'#', rest.as_bytes()));
        Self { authority: Some(authority), path: if path.is_empty() { "/" } else { path }, tail }
    }

    /// The host in lower case, without user and port.
    pub fn host(&self) -> Option<Cow<'a, str>> {
        let host = self.authority.map(host).filter(|host| !host.is_empty())?;
        let lower = !host.bytes().any(|byte| byte.is_ascii_uppercase());
        Some(if lower { Cow::Borrowed(host) } else { Cow::Owned(host.to_ascii_lowercase()) })
    }

    /// The path as it stands, not decoded; `/` when only the host is given.
    pub fn path(&self) -> Option<&'a str> {
        (!self.path.is_empty()).then_some(self.path)
    }

    /// The decoded value of the first query parameter of this name.
    pub fn query(&self, name: &str) -> Option<Cow<'a, str>> {
        let query = self.tail.strip_prefix('?')?;
        let (query, _) = split_at(query, memchr(b'#', query.as_bytes()));
        let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.find(|(key, _)| *key == name || decode(key) == name).map(|(_, value)| decode(value))
    }
}

/// Splits before the place where a byte of ASCII was found, or behind all there is.
fn split_at(text: &str, found: Option<usize>) -> (&str, &str) {
    text.split_at(found.unwrap_or(text.len()))
}

fn after_scheme(url: &str) -> Option<&str> {
    // Nearly all have one of these two.
    url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).or_else(|| after_any_scheme(url))
}

fn after_any_scheme(url: &str) -> Option<&str> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let (scheme, rest) = url.split_at(url.bytes().position(|byte| !is_part(byte)).unwrap_or(url.len()));
    rest.strip_prefix(if scheme.is_empty() { "//" } else { "://" })
}

fn host(authority: &str) -> &str {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.rsplit_once(':') {
        // The colons within `[::1]` are no port's.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Decodes `%41` and `+`. Bytes that are not UTF-8 after that become replacement characters.
fn decode(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let (byte, tail) = match (byte, tail) {
            (b'%', [high, low, tail @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, tail),
                _ => (byte, &rest[1..]),
            },
            (b'+', tail) => (b' ', tail),
            (byte, tail) => (byte, tail),
        };
        decoded.push(byte);
        rest = tail;
    }
    Cow::Owned(
        String::from_utf8(decoded).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    )
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        for (url, host, path) in [
            ("https://x.com", Some("x.com"), Some("/")),
            ("https://x.com?a=1", Some("x.com"), Some("/")),
            ("https://x.com/", Some("x.com"), Some("/")),
            ("HTTPS://User:pw@WWW.X.com:8443/Pricing/eu#top", Some("www.x.com"), Some("/Pricing/eu")),
            ("http://[2001:db8::1]/a", Some("[2001:db8::1]"), Some("/a")),
            ("http://[::1]:80/a", Some("[::1]"), Some("/a")),
            ("//x.com/a//b", Some("x.com"), Some("/a//b")),
            ("/pricing?next=https://y.com/", None, Some("/pricing")),
            ("/go/https://y.com/", None, Some("/go/https://y.com/")),
            ("x.com/pricing", None, Some("x.com/pricing")),
            ("android-app://com.x/home", Some("com.x"), Some("/home")),
            ("file:///etc/hosts", None, Some("/etc/hosts")),
            ("?a=1", None, None),
            ("", None, None),
        ] {
            let split = Url::split(url);
            assert_eq!((split.host().as_deref(), split.path()), (host, path), "{url}");
        }
    }

    #[test]
    fn query_values_are_decoded() {
        let url =
            Url::split("https://x.com/?utm_source=g2&q=a%20b+c&q=second&flag&%6eame=%C3%A4&bad=%zz%4&cut=%ff#q=no");
        for (name, value) in [
            ("utm_source", Some("g2")),
            ("q", Some("a b c")),
            ("flag", Some("")),
            ("name", Some("\u{e4}")),
            ("bad", Some("%zz%4")),
            ("cut", Some("\u{fffd}")),
            ("no", None),
        ] {
            assert_eq!(url.query(name).as_deref(), value, "{name}");
        }
    }

    proptest! {
        #[test]
        fn known_schemes_are_as_any_other(rest in "[a:/?#@]{0,20}") {
            let [http, https, other] = ["http", "https", "app"].map(|scheme| format!("{scheme}://{rest}"));
            prop_assert_eq!(Url::split(&http), Url::split(&other));
            prop_assert_eq!(Url::split(&https), Url::split(&other));
        }

        #[test]
        fn any_text_is_split_without_panic(url in "\\PC*|[a:/?#@%&=+.\\[\\]\u{e4}0-9]*") {
            let split = Url::split(&url);
            let _ = (split.host(), split.path(), split.query("a"));
        }
    }
}
