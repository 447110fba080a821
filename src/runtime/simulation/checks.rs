//! What must hold: at any time for readers, and in the end for everything.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use super::{
    oracle,
    told::{self, Told},
    world::World,
};
use crate::{
    engine::PageId,
    log::{OutputTopic, memory::Watch},
    runtime::simulation::model::PARTITIONS,
    view::{Phase, View},
    wire::standing::decode_standing,
};

/// The state of an account: tier, number of event ids, words.
type Image = (Option<u8>, u8, Vec<[u8; 8]>);

impl World {
    /// Everything, once the world is healed.
    pub fn check(&mut self) -> Result<(), String> {
        if let Some(back) = self.cluster.went_back() {
            return Err(back);
        }
        self.check_changes()?;
        self.check_standings()?;
        self.check_restored()
    }

    /// The changes of every account in the order of their sequence, which within a topic is that of
    /// their offsets.
    pub fn published(&self) -> Result<BTreeMap<String, Vec<Told>>, String> {
        let mut all = BTreeMap::<String, Vec<Told>>::new();
        for topic in [OutputTopic::TierChanges, OutputTopic::SegmentChanges] {
            let mut last = BTreeMap::<String, i64>::new();
            for output in self.cluster.outputs(topic) {
                let json: serde_json::Value = serde_json::from_slice(output.value.as_ref().unwrap()).unwrap();
                let (account, told) = (json["account"].as_str().unwrap().to_owned(), Told::read(&json));
                if let Some(before) = last.insert(account.clone(), told.sequence).filter(|last| *last >= told.sequence)
                {
                    return Err(format!("{account}: the change {} follows {before} in the topic", told.sequence));
                }
                all.entry(account).or_default().push(told);
            }
        }
        all.values_mut().for_each(|changes| changes.sort_by_key(|told| told.sequence));
        Ok(all)
    }

    fn check_changes(&self) -> Result<(), String> {
        let published = self.published()?;
        let end = self.wall();
        let expected: BTreeMap<_, _> = self.records.iter().flat_map(|records| oracle::implied(records, end)).collect();
        for account in expected.keys().chain(published.keys()) {
            let of = |all: &BTreeMap<String, Vec<Told>>| all.get(account).cloned().unwrap_or_default();
            told::compare(account, &of(&published), &of(&expected))?;
        }
        Ok(())
    }

    /// The last standing of an account says what its changes add up to.
    fn check_standings(&self) -> Result<(), String> {
        let mut standings = BTreeMap::new();
        for output in self.cluster.outputs(OutputTopic::Standings) {
            let account = String::from_utf8(output.key.unwrap()).unwrap();
            let value = output.value.map(|value| serde_json::from_slice::<serde_json::Value>(&value).unwrap());
            standings.insert(account, value);
        }
        for (account, changes) in self.published()? {
            let held = told::held(&changes);
            let Some(Some(standing)) = standings.get(&account) else {
                if held.is_empty() {
                    continue;
                }
                return Err(format!("{account} holds {held:?} but has no standing"));
            };
            let tier = standing["tier"].as_str().map(|tier| ("tier".to_owned(), tier.to_owned()));
            let segments = standing["segments"].as_array().unwrap().iter();
            let segments = segments.map(|segment| (segment["name"].as_str().unwrap().to_owned(), "in".to_owned()));
            let stands = tier.into_iter().chain(segments).collect();
            let last = changes.last().map(|told| told.sequence);
            if held != stands || standing["sequence"].as_i64() != last {
                return Err(format!("{account} holds {held:?} as of {last:?}, its standing says {standing}"));
            }
        }
        Ok(())
    }

    /// What a new worker restores is what the old ones hold.
    fn check_restored(&mut self) -> Result<(), String> {
        let live = self.images()?;
        for running in std::mem::take(&mut self.workers) {
            self.cluster.expel(running.member);
        }
        self.start_worker(None);
        self.work_off("a new worker restores", |world| Ok(world.images().is_ok()))?;
        let restored = self.images()?;
        for account in live.keys().chain(restored.keys()) {
            let (live, restored) = (live.get(account), restored.get(account));
            if live != restored {
                return Err(format!("{account} is {restored:x?} after a restore, and was {live:x?}"));
            }
        }
        Ok(())
    }

    /// The state of every account, if all partitions are live.
    fn images(&self) -> Result<BTreeMap<String, Image>, String> {
        let mut images = BTreeMap::new();
        let owned = self.workers.iter().flat_map(|running| running.worker.partitions());
        let live: Vec<_> = owned.filter(|owned| owned.phase == Phase::Live).collect();
        for image in live.iter().flat_map(|owned| PageId::all().flat_map(|page| owned.engine.images(page))) {
            let name = String::from_utf8_lossy(image.name).into_owned();
            images.insert(name, (image.tier, image.ids, image.words.to_vec()));
        }
        let count = live.len() as i32;
        (count == PARTITIONS).then_some(images).ok_or_else(|| format!("{count} of {PARTITIONS} partitions are live"))
    }
}

/// Readers see nothing that is not decided: looks in the midst of a commit.
pub fn watch(view: Arc<View>, leak: Arc<Mutex<Option<String>>>) -> Watch {
    Box::new(move |cluster| {
        let tiers = [None, Some("hot"), Some("warm")];
        let shown = tiers.into_iter().flat_map(|tier| view.by_tier(tier, usize::MAX, None).standings);
        for standing in shown {
            let decided = cluster.decided_standing(&standing.account);
            let decided = decided.and_then(|bytes| decode_standing(&bytes).ok()).map(|decided| decided.sequence);
            if decided.is_none_or(|decided| decided < standing.sequence) {
                let (shown, account) = (standing.sequence, &standing.account);
                let text = format!("readers see the change {shown} of {account}, but {decided:?} is committed");
                leak.lock().unwrap().get_or_insert(text);
            }
        }
    })
}
