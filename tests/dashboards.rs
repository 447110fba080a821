//! The dashboard, the alerts and the compose stack, checked against the metrics that there are.

use std::collections::{BTreeMap, BTreeSet};

use promql_parser::{
    label::{MatchOp, Matcher},
    parser::{Expr, LabelModifier, VectorSelector, parse},
    util::{ExprVisitor, walk_expr},
};
use serde_json::Value;
use tidemark::{
    settings::{Settings, Surroundings},
    telemetry::catalogue,
};

mod support;

use support::dashboard::{Query, dashboard, deploy, filled_in, list, panels, queries, read, text};

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What an expression reads, and by which labels it groups.
#[derive(Default)]
struct Reads {
    selectors: Vec<VectorSelector>,
    grouped_by: BTreeSet<String>,
}

impl Reads {
    fn of(expr: &str) -> Self {
        let parsed = parse(&filled_in(expr, "1m")).unwrap_or_else(|error| panic!("{expr}: {error}"));
        let mut reads = Self::default();
        walk_expr(&mut reads, &parsed).unwrap();
        assert!(!reads.selectors.is_empty(), "{expr} reads nothing");
        reads
    }
}

impl ExprVisitor for Reads {
    type Error = std::convert::Infallible;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Self::Error> {
        match expr {
            Expr::VectorSelector(selector) => self.selectors.push(selector.clone()),
            Expr::MatrixSelector(matrix) => self.selectors.push(matrix.vs.clone()),
            Expr::Aggregate(aggregate) => {
                if let Some(LabelModifier::Include(labels)) = &aggregate.modifier {
                    self.grouped_by.extend(labels.labels.iter().cloned());
                }
            }
            _ => {}
        }
        Ok(true)
    }
}

/// The labels that the series has, or a complaint that there is no such series.
fn labels_of(series: &str) -> Result<BTreeSet<&str>, String> {
    let common = ["job", "instance"];
    // The process collector's and Prometheus' own.
    if matches!(series, "process_cpu_seconds_total" | "process_resident_memory_bytes" | "up") {
        return Ok(common.into());
    }
    let entry = catalogue::find(series).ok_or_else(|| format!("there is no metric `{series}`"))?;
    let bucket = series.ends_with("_bucket").then_some("le");
    Ok(common.into_iter().chain(entry.labels.iter().copied()).chain(bucket).collect())
}

#[track_caller]
fn check_names(place: &str, expr: &str, reads: &Reads) {
    let mut known = BTreeSet::new();
    for selector in &reads.selectors {
        let series = selector.name.as_deref().unwrap_or_else(|| panic!("{place}: a selector without a name in {expr}"));
        let labels = labels_of(series).unwrap_or_else(|complaint| panic!("{place}: {complaint}"));
        for Matcher { name, .. } in &selector.matchers.matchers {
            assert!(labels.contains(name.as_str()), "{place}: `{series}` has no label `{name}`");
        }
        known.extend(labels);
    }
    for label in &reads.grouped_by {
        assert!(known.contains(label.as_str()), "{place}: nothing in {expr} has the label `{label}`");
    }
}

#[test]
fn queries_name_metrics_and_labels_that_exist() {
    let dashboard = dashboard();
    for Query { panel, expr, legend } in queries(&dashboard) {
        let reads = Reads::of(expr);
        check_names(panel, expr, &reads);
        for part in legend.split("{{").skip(1) {
            let label = part.split("}}").next().unwrap();
            let shown = reads.grouped_by.contains(label) || (reads.grouped_by.is_empty() && label == "instance");
            assert!(shown, "{panel}: the legend shows `{label}`, which the query does not keep");
        }
    }
}

#[test]
fn queries_follow_the_chosen_job_and_instance() {
    let dashboard = dashboard();
    for Query { panel, expr, .. } in queries(&dashboard) {
        for selector in Reads::of(expr).selectors {
            for label in ["job", "instance"] {
                let matchers = &selector.matchers.matchers;
                let chosen = matchers.iter().find(|matcher| matcher.name == label);
                let chosen = chosen.is_some_and(|matcher| matches!(matcher.op, MatchOp::Re(_)));
                assert!(chosen && expr.contains(&format!("{label}=~\"${label}\"")), "{panel}: {expr}");
            }
        }
        for window in expr.split('[').skip(1) {
            let window = window.split(']').next().unwrap();
            assert!(matches!(window, "$__rate_interval" | "$__range"), "{panel}: a window of {window} in {expr}");
        }
    }
}

#[test]
fn panels_explain_themselves() {
    let dashboard = dashboard();
    let source = serde_json::json!({"type": "prometheus", "uid": "${datasource}"});
    let mut titles = BTreeSet::new();
    for (title, panel) in panels(&dashboard) {
        assert!(titles.insert(title), "two panels are called {title}");
        assert!(text(panel, "description").ends_with('.'), "{title}: no sentence describes it");
        assert!(!text(&panel["fieldConfig"]["defaults"], "unit").is_empty(), "{title}: no unit");
        assert_eq!(panel["datasource"], source, "{title}");
        let mut references = BTreeSet::new();
        for target in list(panel, "targets") {
            assert_eq!(target["datasource"], source, "{title}");
            assert!(references.insert(text(target, "refId")), "{title}: two queries have one name");
        }
        assert!(!references.is_empty(), "{title}: no query");
    }
}

#[test]
fn the_dashboard_loads_under_one_address_anywhere() {
    let dashboard = dashboard();
    assert_eq!((text(&dashboard, "uid"), &dashboard["id"]), ("tidemark", &Value::Null));
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 41));
    let variables = list(&dashboard["templating"], "list");
    let variables: BTreeMap<_, _> = variables.iter().map(|variable| (text(variable, "name"), variable)).collect();
    assert_eq!(variables["datasource"]["query"], "prometheus");
    for name in ["job", "instance"] {
        assert_eq!(variables[name]["datasource"]["uid"], "${datasource}");
        assert_eq!(variables[name]["includeAll"], true);
        assert!(text(variables[name], "definition").contains(catalogue::BUILD_INFO.name));
    }
}

#[test]
fn no_panel_covers_another() {
    let dashboard = dashboard();
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeMap::new());
    for panel in list(&dashboard, "panels") {
        let title = text(panel, "title");
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is another's");
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{title} is too wide");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                if let Some(other) = taken.insert((x, y), title) {
                    panic!("{title} covers {other}");
                }
            }
        }
    }
}

#[test]
fn alerts_name_metrics_that_exist_and_say_what_to_do() {
    let rules = yaml("prometheus/rules.yml");
    let tests = read("prometheus/rules_test.yml");
    for rule in list(&rules, "groups").iter().flat_map(|group| list(group, "rules")) {
        let (name, expr) = (text(rule, "alert"), text(rule, "expr"));
        assert!(name.starts_with("Tidemark"), "{name}");
        check_names(name, expr, &Reads::of(expr));
        assert!(matches!(text(&rule["labels"], "severity"), "critical" | "warning"), "{name}");
        for annotation in ["summary", "description"] {
            assert!(!text(&rule["annotations"], annotation).is_empty(), "{name}: {annotation}");
        }
        assert!(tests.contains(&format!("alertname: {name}\n        exp_alerts:")), "{name} is never seen to fire");
    }
}

#[test]
fn the_parts_of_the_stack_fit_together() {
    let stack = yaml("compose.yaml");
    let services = stack["services"].as_object().unwrap();
    for (name, service) in services {
        let image = text(service, "image");
        assert!(
            image == "tidemark" || image.split_once(':').is_some_and(|(_, tag)| tag != "latest"),
            "{name}: {image}"
        );
        for port in service["ports"].as_array().into_iter().flatten() {
            assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name} is open to the network: {port}");
        }
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let source = volume.as_str().unwrap().split(':').next().unwrap();
            if source.starts_with('.') {
                assert!(deploy(source).exists(), "{name} mounts {source}, which does not exist");
            } else {
                assert!(stack["volumes"].get(source).is_some(), "{name} mounts {source}, which is not declared");
            }
        }
        let needed: Vec<&str> = match &service["depends_on"] {
            Value::Object(needed) => needed.keys().map(String::as_str).collect(),
            needed => needed.as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
        };
        needed.iter().for_each(|other| assert!(services.contains_key(*other), "{name} waits for {other}"));
    }
    let scraped = yaml("prometheus/prometheus.yml");
    assert_eq!(scraped["scrape_configs"][0]["static_configs"][0]["targets"][0], "tidemark:8080");
    let source = yaml("grafana/provisioning/datasources/prometheus.yaml");
    assert_eq!(source["datasources"][0]["uid"], dashboard()["templating"]["list"][0]["current"]["value"]);
    let provider = yaml("grafana/provisioning/dashboards/tidemark.yaml");
    let mounted = format!("./grafana/dashboards:{}:ro", text(&provider["providers"][0]["options"], "path"));
    assert!(list(&services["grafana"], "volumes").contains(&Value::String(mounted)));
}

#[test]
fn the_configuration_of_the_stack_is_valid() {
    let parse = |variable| {
        let surroundings = Surroundings::new(variable, |_| Err(std::io::ErrorKind::NotFound.into()));
        Settings::parse(&read("tidemark.yaml"), &deploy("tidemark.yaml"), &surroundings)
    };
    let refused = parse(|_| None).unwrap_err().to_string();
    assert!(refused.contains("`TIDEMARK_HTTP_TOKEN`") && refused.contains("openssl rand"), "{refused}");
    let settings = parse(|name| (name == "TIDEMARK_HTTP_TOKEN").then(|| "0123456789abcdef".to_owned())).unwrap();
    assert_eq!(
        settings.http.listen,
        "0.0.0.0:8080".parse().unwrap(),
        "where compose publishes and Prometheus scrapes it"
    );
    let brokers = &yaml("compose.yaml")["services"]["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"];
    assert!(brokers.as_str().unwrap().contains(&format!("INSIDE://{},", settings.kafka.brokers)), "{brokers}");
}
