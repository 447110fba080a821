//! The Grafana dashboard, read as the file that it is.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// A file below `deploy/`.
pub fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

/// The text of a file below `deploy/`.
pub fn read(path: &str) -> String {
    let path = deploy(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The dashboard.
pub fn dashboard() -> Value {
    serde_json::from_str(&read("grafana/dashboards/tidemark.json")).expect("the dashboard is JSON")
}

/// A list that must be there.
pub fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_else(|| panic!("no list `{key}` in {value}"))
}

/// A text that must be there.
pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no text `{key}` in {value}"))
}

/// Panels that show something, with their titles.
pub fn panels(dashboard: &Value) -> impl Iterator<Item = (&str, &Value)> {
    list(dashboard, "panels").iter().filter(|panel| panel["type"] != "row").map(|panel| (text(panel, "title"), panel))
}

/// One query of the dashboard.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The title of its panel.
    pub panel: &'a str,
    pub expr: &'a str,
    pub legend: &'a str,
}

/// All queries of the dashboard.
pub fn queries(dashboard: &Value) -> impl Iterator<Item = Query<'_>> {
    panels(dashboard).flat_map(|(panel, value)| {
        let query = move |target| Query { panel, expr: text(target, "expr"), legend: text(target, "legendFormat") };
        list(value, "targets").iter().map(query)
    })
}

/// The expression as Grafana asks it, with everything selected and windows of this length.
pub fn filled_in(expr: &str, window: &str) -> String {
    let expr = expr.replace("$__rate_interval", window).replace("$__range", window);
    expr.replace("$job", ".+").replace("$instance", ".+")
}
