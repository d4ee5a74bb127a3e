//! The API, described for programs: OpenAPI 3.1.
//!
//! It is written by hand, and tests hold it against the routes and against what is answered.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};

const DOCUMENT: &str = include_str!("openapi.json");

pub(super) async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        fs,
        path::Path,
        sync::Arc,
    };

    use serde_json::{Value, json};

    use super::*;
    use crate::http::{
        ConsumerGroup, Consumers, Excess, Halt, HealthBody, NodeRow, NodeSaid, Role, ShardHistory,
        Target, View, readiness, streams::without_shards, view::tests::view,
    };
    use crate::model::{Format, ShardId, UnixMillis};
    use crate::state::Limits;
    use crate::timeline::{Entry, Kind};

    fn document() -> Value {
        serde_json::from_str(DOCUMENT).unwrap()
    }

    /// The paths that the folder's sources name, and their methods.
    fn routes() -> BTreeMap<String, BTreeSet<String>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|kind| kind != "rs") || path.ends_with("openapi.rs") {
                continue;
            }
            let text = fs::read_to_string(path).unwrap();
            for route in text.split(".route(").skip(1) {
                let mut quoted = route.splitn(3, '"');
                let path = quoted.nth(1).unwrap().to_owned();
                let rest = quoted.next().unwrap_or_default();
                let rest = &rest[..rest.find('\n').unwrap_or(rest.len())];
                let methods = ["get", "post"].into_iter().filter(|method| {
                    rest.contains(&format!("{method}(")) && !rest.contains(&format!("_{method}("))
                });
                found.entry(path).or_default().extend(methods.map(str::to_owned));
            }
        }
        found
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let described: BTreeMap<_, BTreeSet<_>> = paths
            .iter()
            .map(|(path, operations)| {
                let names = operations.as_object().unwrap().keys();
                (path.clone(), names.filter(|name| *name != "parameters").cloned().collect())
            })
            .collect();

        assert_eq!(described, routes());
    }

    /// Why `value` is not as `schema` says, where it isn't.
    fn unfit(document: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.rsplit('/').next().unwrap();
            return unfit(document, &document["components"]["schemas"][name], value, at);
        }
        if let Some(choices) = schema["oneOf"].as_array() {
            let fits = choices.iter().any(|it| unfit(document, it, value, at).is_none());
            return (!fits).then(|| format!("{at}: {value} is none of the choices"));
        }
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let kinds = &schema["type"];
        if kinds != kind && !kinds.as_array().is_some_and(|kinds| kinds.contains(&json!(kind))) {
            return Some(format!("{at}: {kind}, and not {kinds}"));
        }
        if let Some(allowed) = schema["enum"].as_array()
            && !allowed.contains(value)
        {
            return Some(format!("{at}: {value} is not among {allowed:?}"));
        }
        if let Some(items) = value.as_array() {
            let at = format!("{at}[]");
            return items.iter().find_map(|item| unfit(document, &schema["items"], item, &at));
        }
        let fields = value.as_object()?;
        let required = schema["required"].as_array().into_iter().flatten();
        for name in required.filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                return Some(format!("{at}: {name} is missing"));
            }
        }
        fields.iter().find_map(|(name, value)| match schema["properties"].get(name) {
            Some(schema) => unfit(document, schema, value, &format!("{at}.{name}")),
            None => Some(format!("{at}: {name} is not described")),
        })
    }

    fn full() -> View {
        let halted = Halt { code: 4004, shard: ShardId(1), advice: "mend it".to_owned() };
        let group = ConsumerGroup {
            name: "bot".to_owned(),
            required: true,
            consumers: 1,
            waiting: 2,
            unacknowledged: 3,
            oldest_ms: Some(4),
        };
        let said = NodeSaid {
            version: "1".to_owned(),
            uptime_ms: 5,
            lag: 0,
            round_trip_us: 900,
            format_max: Some(Format::MAX),
        };
        let over = vec![Excess { node: "apolo-0".to_owned(), shards: 9 }];
        View {
            never_started: vec!["cd".to_owned()],
            halted: Some(halted),
            identifies: Some(Limits {
                max_concurrency: 16,
                total: 1_000,
                remaining: 984,
                resets_at: UnixMillis(7_200_000),
            }),
            target: Some(Target { shards_per_node: 3, over }),
            consumers: Some(Consumers { url: "ws://a".to_owned(), groups: vec![group] }),
            nodes: vec![NodeRow {
                id: "ab".to_owned(),
                name: "apolo-0".to_owned(),
                role: Role::Leader,
                lost: false,
                drains: false,
                shards: 2,
                boot: 3,
                said: Some(said),
            }],
            ..view(2)
        }
    }

    #[test]
    fn what_is_answered_is_as_it_is_described() {
        let document = document();
        let entries = Kind::ALL.map(|kind| Entry {
            id: 1,
            at_ms: UnixMillis(5),
            kind,
            node: None,
            from: Some("apolo-0".to_owned()),
            shards: vec![ShardId(1)],
            took_ms: Some(3),
            text: String::new(),
        });
        let history = ShardHistory {
            row: view(1).shards[0].clone(),
            history: vec![Arc::new(entries[0].clone())],
        };
        let answers = [
            ("View", serde_json::to_value(full()).unwrap()),
            ("View", serde_json::to_value(View::default()).unwrap()),
            ("Health", serde_json::to_value(HealthBody::from(full())).unwrap()),
            ("Cluster", without_shards(&full())),
            ("ShardHistory", serde_json::to_value(history).unwrap()),
            ("Readiness", serde_json::to_value(readiness(&full())).unwrap()),
        ];
        let entries = entries.map(|entry| ("Entry", serde_json::to_value(entry).unwrap()));

        for (name, answer) in answers.into_iter().chain(entries) {
            let schema = &document["components"]["schemas"][name];
            assert_eq!(unfit(&document, schema, &answer, name), None);
        }
    }
}
