//! What travels with a committed offset, in its metadata: atomic with everything else.

use serde::{Deserialize, Serialize};

use crate::log::Offset;

/// The format that this program writes; it refuses any other.
const VERSION: u8 = 1;

/// The promise that a committed offset carries for one input partition.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Checkpoint {
    v: u8,
    /// The oldest position at which a page that was not stored since was first touched: re-reading
    /// the input from here rebuilds what the pages lack.
    from: i64,
    /// The last stored copy of no page lies below this offset of the state topic: a restore needs nothing
    /// that is older, whether the broker has compacted it or not.
    #[serde(default)]
    state: i64,
    /// How many pages of the partition have ever been stored. Fewer found means lost state.
    pub pages: u16,
    /// How many partitions every topic has: another number would send accounts elsewhere.
    pub partitions: i32,
    /// The model that all accounts have been judged under.
    pub model: String,
    /// Names the commit; equal names mean that nobody else committed since.
    pub commit: String,
}

impl Checkpoint {
    /// A checkpoint of this format.
    pub fn new(
        replay_from: Offset,
        state_from: Offset,
        pages: u16,
        partitions: i32,
        model: String,
        commit: String,
    ) -> Self {
        Self { v: VERSION, from: replay_from.0, state: state_from.0, pages, partitions, model, commit }
    }

    /// Where re-reading starts.
    pub fn replay_from(&self) -> Offset {
        Offset(self.from)
    }

    /// Where reading the state topic starts.
    pub fn state_from(&self) -> Offset {
        Offset(self.state)
    }

    /// The metadata text.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads metadata; the error says what is wrong with it.
    pub fn decode(text: &str) -> Result<Self, String> {
        let checkpoint: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if checkpoint.v == VERSION {
            Ok(checkpoint)
        } else {
            Err(format!("it is of format {}, this version reads {VERSION}", checkpoint.v))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_comes_back_and_stays_small() {
        let (input, state) = (Offset(123_456_789_012), Offset(1_234_567_890));
        let checkpoint = Checkpoint::new(input, state, 1024, 64, "0123456789abcdef".into(), "f3c0ffee-99".into());
        let text = checkpoint.encode();
        assert_eq!(Checkpoint::decode(&text), Ok(checkpoint));
        assert!(text.len() < 200, "{text}");
        assert!(Checkpoint::decode("").is_err());
        assert!(Checkpoint::decode(&text.replace("\"v\":1", "\"v\":2")).unwrap_err().contains("format 2"));
    }
}
