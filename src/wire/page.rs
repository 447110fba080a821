//! State pages: a versioned, checksummed binary snapshot of one page of accounts.
//!
//! Layout (integers little-endian; `text` is a `u16` length and UTF-8 bytes):
//! ```text
//! magic "TMPG"  u16 version  u16 page  u16 part  u16 parts  i32 partition
//! u16 count, { text input, i64 position }       the records that the page reflects end here
//! text digest, { u16 count, text* } x 3         names of slots, tiers, facts
//! u32 count, { text name, i64 settled, u8 tier (255 none), u8 ids, u32 words, u64* }
//! u64 checksum                                  xxh3 of all before it
//! ```
//! A page above the record size limit is split into parts that are written together; the first
//! says how many there are.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::{
    engine::{AccountImage, PAGES, PageId, Schema},
    model::{Model, Timestamp},
};

const MAGIC: &[u8; 4] = b"TMPG";
/// The format that this program writes; it refuses any other.
pub const VERSION: u16 = 1;
const NO_TIER: u8 = u8::MAX;

/// Everything about a page but its accounts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PageHeader<'a> {
    pub page: PageId,
    /// The partition whose accounts these are.
    pub partition: i32,
    pub part: u16,
    pub parts: u16,
    /// Per input topic: the next offset that the page does not reflect.
    pub positions: Vec<(&'a str, i64)>,
    pub schema: StoredSchema<'a>,
}

/// A schema as its page has it. Nearly every page has that of the page before, which the bytes tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StoredSchema<'a>(pub &'a [u8]);

impl StoredSchema<'_> {
    /// Reads the names.
    pub fn decode(self) -> Result<Schema, PageError> {
        let mut reader = Reader(self.0);
        let digest = reader.text()?.into();
        Ok(Schema { digest, slots: reader.texts()?, tiers: reader.texts()?, facts: reader.texts()? })
    }
}

/// Why bytes are not a page.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PageError {
    #[error("the state page is cut short or does not start like one ({0} bytes)")]
    NotAPage(usize),
    #[error(
        "the state page is of format {found}, this version reads {VERSION}; run the version that wrote it, or a newer one"
    )]
    Version { found: u16 },
    #[error("the checksum of the state page does not match its contents: it was damaged")]
    Checksum,
    #[error("the state page contradicts itself: {0}")]
    Contents(&'static str),
}

/// The key of a part of a page in the state topic: `17`, then `17.1`, `17.2`, ….
pub fn key(page: PageId, part: u16) -> Vec<u8> {
    if part == 0 { page.0.to_string() } else { format!("{}.{part}", page.0) }.into_bytes()
}

/// Writes a page as one or more parts, each at most about `limit` bytes (a single account is never split).
pub fn encode<'a>(
    page: PageId,
    partition: i32,
    positions: &[(Arc<str>, i64)],
    schema: &Schema,
    accounts: impl Iterator<Item = AccountImage<'a>>,
    limit: usize,
) -> Vec<Vec<u8>> {
    let mut head = Vec::with_capacity(1024);
    put_header(&mut head, page, partition, positions, schema);
    let mut parts = vec![Part::new(&head)];
    for account in accounts {
        let full =
            parts.last().is_none_or(|part| part.bytes.len() + encoded_len(&account) > limit && part.accounts > 0);
        if full {
            parts.push(Part::new(&head));
        }
        if let Some(part) = parts.last_mut() {
            part.add(&account);
        }
    }
    let count = parts.len() as u16;
    parts.into_iter().enumerate().map(|(at, part)| part.finish(at as u16, count)).collect()
}

struct Part {
    bytes: Vec<u8>,
    count_at: usize,
    accounts: u32,
}

const PART_AT: usize = 8;

impl Part {
    fn new(head: &[u8]) -> Self {
        let mut bytes = head.to_vec();
        bytes.extend(0u32.to_le_bytes());
        Self { count_at: head.len(), bytes, accounts: 0 }
    }

    fn add(&mut self, account: &AccountImage<'_>) {
        self.accounts += 1;
        put_bytes(&mut self.bytes, account.name);
        self.bytes.extend(account.settled.millis().to_le_bytes());
        self.bytes.extend([account.tier.unwrap_or(NO_TIER), account.ids]);
        self.bytes.extend((account.words.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(account.words.as_flattened());
    }

    fn finish(mut self, part: u16, parts: u16) -> Vec<u8> {
        self.bytes[PART_AT..PART_AT + 2].copy_from_slice(&part.to_le_bytes());
        self.bytes[PART_AT + 2..PART_AT + 4].copy_from_slice(&parts.to_le_bytes());
        self.bytes[self.count_at..self.count_at + 4].copy_from_slice(&self.accounts.to_le_bytes());
        let checksum = xxh3_64(&self.bytes);
        self.bytes.extend(checksum.to_le_bytes());
        self.bytes
    }
}

/// Bytes of an account without a name and without words.
const LEAST_ACCOUNT: usize = 2 + 8 + 2 + 4;

fn encoded_len(account: &AccountImage<'_>) -> usize {
    LEAST_ACCOUNT + account.name.len() + account.words.len() * 8
}

fn put_header(out: &mut Vec<u8>, page: PageId, partition: i32, positions: &[(Arc<str>, i64)], schema: &Schema) {
    out.extend(MAGIC);
    out.extend(VERSION.to_le_bytes());
    out.extend(page.0.to_le_bytes());
    out.extend([0; 4]);
    out.extend(partition.to_le_bytes());
    out.extend((positions.len() as u16).to_le_bytes());
    for (input, position) in positions {
        put_text(out, input);
        out.extend(position.to_le_bytes());
    }
    put_text(out, &schema.digest);
    for names in [&schema.slots, &schema.tiers, &schema.facts] {
        out.extend((names.len() as u16).to_le_bytes());
        names.iter().for_each(|name| put_text(out, name));
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u16::try_from(bytes.len()).expect("names of accounts, topics and statements are shorter");
    out.extend(len.to_le_bytes());
    out.extend_from_slice(bytes);
}

/// A decoded part of a page; accounts are read as they are asked for.
#[derive(Debug)]
pub struct PagePart<'a> {
    pub header: PageHeader<'a>,
    left: u32,
    reader: Reader<'a>,
}

/// Checks the format, the checksum and the header of a part.
pub fn decode(bytes: &[u8]) -> Result<PagePart<'_>, PageError> {
    let not_a_page = PageError::NotAPage(bytes.len());
    let (body, checksum) = bytes.split_last_chunk::<8>().ok_or(not_a_page.clone())?;
    let mut reader = Reader(body);
    if reader.take(4)? != MAGIC {
        return Err(not_a_page);
    }
    let found = reader.u16()?;
    if found != VERSION {
        return Err(PageError::Version { found });
    }
    if xxh3_64(body) != u64::from_le_bytes(*checksum) {
        return Err(PageError::Checksum);
    }
    let page = PageId(reader.u16()?);
    if usize::from(page.0) >= PAGES {
        return Err(PageError::Contents("its page number is out of range"));
    }
    let (part, parts) = (reader.u16()?, reader.u16()?);
    let partition = i32::from_le_bytes(reader.array()?);
    let positions = (0..reader.u16()?).map(|_| Ok((reader.text()?, reader.i64()?))).collect::<Result<_, _>>()?;
    let schema = reader.schema()?;
    let left = reader.u32()?;
    Ok(PagePart { header: PageHeader { page, partition, part, parts, positions, schema }, left, reader })
}

impl<'a> PagePart<'a> {
    /// How many accounts are still to come: no more than what is left of the bytes has room for.
    pub fn accounts_left(&self) -> usize {
        (self.left as usize).min(self.reader.0.len() / LEAST_ACCOUNT)
    }

    /// The next account, or nothing after the last.
    pub fn next_account(&mut self) -> Result<Option<AccountImage<'a>>, PageError> {
        if self.left == 0 {
            return if self.reader.0.is_empty() {
                Ok(None)
            } else {
                Err(PageError::Contents("bytes follow its last account"))
            };
        }
        self.left -= 1;
        let name = self.reader.bytes()?;
        let settled = Timestamp::from_millis(self.reader.i64()?);
        let [tier, ids] = self.reader.array()?;
        let count = self.reader.u32()? as usize;
        let words = self.reader.take(count.saturating_mul(8))?;
        if usize::from(ids) > count {
            return Err(PageError::Contents("an account has more event ids than words"));
        }
        let tier = (tier != NO_TIER).then_some(tier);
        Ok(Some(AccountImage { name, settled, tier, ids, words: words.as_chunks().0 }))
    }
}

#[derive(Debug)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], PageError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(PageError::Contents("it ends in the middle"))?;
        self.0 = rest;
        Ok(taken)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], PageError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(PageError::Contents("it ends in the middle"))?;
        self.0 = rest;
        Ok(*taken)
    }
    fn u16(&mut self) -> Result<u16, PageError> {
        self.array().map(u16::from_le_bytes)
    }
    fn u32(&mut self) -> Result<u32, PageError> {
        self.array().map(u32::from_le_bytes)
    }
    fn i64(&mut self) -> Result<i64, PageError> {
        self.array().map(i64::from_le_bytes)
    }
    fn bytes(&mut self) -> Result<&'a [u8], PageError> {
        let len = usize::from(self.u16()?);
        self.take(len)
    }
    fn text(&mut self) -> Result<&'a str, PageError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| PageError::Contents("a name is not UTF-8"))
    }
    /// Goes past the digest, and the names of slots, tiers and facts.
    fn schema(&mut self) -> Result<StoredSchema<'a>, PageError> {
        let from = self.0;
        self.bytes()?;
        let mut count = 0;
        for _ in 0..3 {
            count = self.u16()?;
            for _ in 0..count {
                self.bytes()?;
            }
        }
        if usize::from(count) > Model::MAX_FACTS {
            return Err(PageError::Contents(
                "it has more statements about attributes than an account has bits for them",
            ));
        }
        Ok(StoredSchema(&from[..from.len() - self.0.len()]))
    }
    fn texts(&mut self) -> Result<Vec<Arc<str>>, PageError> {
        let count = self.u16()?;
        // No more than there are bytes for.
        let mut texts = Vec::with_capacity(usize::from(count).min(self.0.len() / 2));
        for _ in 0..count {
            texts.push(self.text()?.into());
        }
        Ok(texts)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schema() -> Schema {
        let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
        Schema { digest: "d1".into(), slots: names(&["facts", "standing"]), tiers: names(&["hot"]), facts: vec![] }
    }

    type Stored = (String, i64, Option<u8>, u8, Vec<[u8; 8]>);

    fn read(bytes: &[u8]) -> Result<(PageHeader<'_>, Vec<Stored>), PageError> {
        let mut part = decode(bytes)?;
        let (mut accounts, mut left) = (Vec::new(), part.accounts_left());
        while let Some(AccountImage { name, settled, tier, ids, words }) = part.next_account()? {
            let name = String::from_utf8(name.to_vec()).unwrap();
            accounts.push((name, settled.millis(), tier, ids, words.to_vec()));
            left -= 1;
            assert_eq!(part.accounts_left(), left);
        }
        Ok((part.header, accounts))
    }

    proptest! {
        #[test]
        fn a_page_comes_back_whatever_its_parts(
            accounts in prop::collection::vec(("[a-z0-9.]{0,30}", 0i64..1 << 44, prop::option::of(0u8..9), prop::collection::vec(any::<[u8; 8]>(), 0..40)), 0..60),
            limit in 200usize..5000,
        ) {
            let stored: Vec<Stored> = accounts.into_iter()
                .map(|(name, settled, tier, words)| (name, settled, tier, (words.len() / 2) as u8, words))
                .collect();
            let images = stored.iter().map(|(name, settled, tier, ids, words)| AccountImage {
                name: name.as_bytes(),
                settled: Timestamp::from_millis(*settled),
                tier: *tier,
                ids: *ids,
                words,
            });
            let positions: Vec<(Arc<str>, i64)> = vec![("intent.events".into(), 17), ("intent.accounts".into(), 0)];
            let parts = encode(PageId(9), 3, &positions, &schema(), images, limit);
            let mut back = Vec::new();
            for (at, bytes) in parts.iter().enumerate() {
                let (header, accounts) = read(bytes).unwrap();
                prop_assert_eq!((header.partition, header.part, header.parts), (3, at as u16, parts.len() as u16));
                let known: Vec<_> = positions.iter().map(|(input, position)| (&**input, *position)).collect();
                prop_assert_eq!((header.positions, header.schema.decode()), (known, Ok(schema())));
                back.extend(accounts);
            }
            prop_assert_eq!(back, stored);
        }

        #[test]
        fn damage_is_noticed(at in 0usize..1000, bit in 0u8..8) {
            let account = AccountImage { name: b"acme.com", settled: Timestamp::EARLIEST, tier: None, ids: 0, words: &[[1; 8], [2; 8], [3; 8]] };
            let mut bytes = encode(PageId(9), 3, &[], &schema(), std::iter::once(account), 10_000).remove(0);
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert!(read(&bytes).is_err());
        }

        #[test]
        fn more_statements_than_bits_are_refused(facts in 0usize..130) {
            let facts = (0..facts).map(|at| Arc::from(format!("fact {at}"))).collect::<Vec<_>>();
            let fits = facts.len() <= Model::MAX_FACTS;
            let schema = Schema { facts, ..schema() };
            let bytes = encode(PageId(9), 3, &[], &schema, std::iter::empty(), 10_000).remove(0);
            prop_assert_eq!(decode(&bytes).is_ok(), fits);
        }

        #[test]
        fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(read(&bytes).is_err());
        }
    }
}
