//! What was written to Kafka, as the sizes of the logs on the broker's disk tell.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The sizes of all segments, each as large as it was ever seen: compaction makes them smaller again.
#[derive(Clone, Debug, Default)]
pub struct Segments(BTreeMap<PathBuf, u64>);

impl Segments {
    /// Looks again at all logs below the broker's directory.
    pub fn look(&mut self, data: &Path) {
        for partition in entries(data) {
            for segment in entries(&partition).filter(|path| path.extension().is_some_and(|end| end == "log")) {
                // Compaction may have removed it in between.
                if let Ok(metadata) = fs::metadata(&segment) {
                    let size = self.0.entry(segment).or_default();
                    *size = metadata.len().max(*size);
                }
            }
        }
    }

    /// Bytes by topic, where `namespace` (with its dot) is left out of the topics' names.
    pub fn by_topic(&self, namespace: &str) -> BTreeMap<String, u64> {
        let mut sizes = BTreeMap::new();
        for (segment, size) in &self.0 {
            let folder = segment.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
            let topic = folder.rsplit_once('-').map_or(&*folder, |(topic, _)| topic);
            *sizes.entry(topic.strip_prefix(namespace).unwrap_or(topic).to_owned()).or_default() += size;
        }
        sizes
    }
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}
