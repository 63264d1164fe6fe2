//! Components of the SDKs of Spin and wasmCloud, with the stores and databases that they ask for.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::tools::{install, place};
use super::tried;
use crate::harness::{Daemon, DatabaseServer, Setup};

/// The crates, each with its lock file.
const CRATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/it/foreign/components");

/// Builds a crate. Returns its component.
fn component(name: &str) -> Option<PathBuf> {
    let target = place("components").join(name);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--release", "--target", "wasm32-wasip2", "--manifest-path"]);
    cargo.arg(Path::new(CRATES).join(name).join("Cargo.toml")).env("CARGO_TARGET_DIR", &target);
    install(
        &mut cargo,
        "is crates.io within reach, and the target installed (rustup target add wasm32-wasip2)?",
    )?;
    Some(target.join(format!("wasm32-wasip2/release/{name}.wasm")))
}

/// Serves a component with a store, and returns its response.
fn asked(name: &str, settings: &str) -> Option<(Daemon, String)> {
    let module = component(name)?;
    let setup = Setup::new(&format!(
        "{settings}\n[store.default]\nurl = \"redb:kept.redb\"\n\
         [handler.c]\nmodule = \"c.wasm\"\nstores = [\"default\"]\nenv = {{ GREETING = \"hi\" }}\n\
         [[route]]\npath = \"/\"\nhandler = \"c\"\n"
    ));
    let setup = setup.file("c.wasm", &std::fs::read(module).unwrap());
    let (daemon, response) = tried(name, setup, |daemon| daemon.get("/"));
    assert_eq!(response.status(), 200, "{}", response.text());
    Some((daemon, response.text().to_owned()))
}

/// What a component of Spin sees, whatever its SDK.
const SPIN: &str = "Some(Ok(\"one\"))\n[\"spin/a\", \"spin/b\"]\nfalse\nSome(Error::AccessDenied)\n\
    Ok(\"hi\") Err(Error::Undefined(\"none\"))\n";

#[test]
fn a_component_of_spins_sdk_5_keeps_its_keys() {
    let Some((_daemon, seen)) = asked("spin5", "") else { return };

    assert_eq!(seen, SPIN);
}

#[test]
fn a_component_of_spins_sdk_7_keeps_its_keys() {
    let Some((_daemon, seen)) = asked("spin7", "wasi_http_03 = true") else { return };

    assert_eq!(seen, SPIN);
}

/// Serves a component with databases, one on this server, and returns its responses to these targets.
fn asked_for_tables(name: &str, server: &DatabaseServer, targets: &[&str]) -> Option<Vec<String>> {
    let module = component(name)?;
    let setup = Setup::new(&format!(
        "wasi_http_03 = true\n[database.app]\nurl = \"{}\"\n[database.kept]\nurl = \"sqlite:kept.sqlite\"\n\
         [handler.c]\nmodule = \"c.wasm\"\ndatabases = {{ main = \"app\", kept = \"kept\" }}\n\
         [[route]]\npath = \"/{{*rest}}\"\nhandler = \"c\"\n",
        server.url()
    ));
    let setup = setup.file("c.wasm", &std::fs::read(module).unwrap());
    let (daemon, _) = tried(name, setup, |daemon| daemon.get(targets[0]));
    let ask = |target: &&str| {
        let response = daemon.get(target);
        assert_eq!(response.status(), 200, "{target}: {}", response.text());
        response.text().to_owned()
    };
    Some(targets.iter().map(ask).collect())
}

/// What a component of Spin sees of a PostgreSQL server, whatever its SDK.
const TABLES: &str = "1 Some(Error::QueryFailed(QueryError::Text(\"constraint: database main: duplicate key value violates \
    unique constraint \\\"people_name_key\\\" (Key (name)=(ada) already exists.)\")))\n\
    [DbDataType::Int32, DbDataType::Str, DbDataType::Date, DbDataType::ArrayStr, DbDataType::Decimal, \
    DbDataType::Int64, DbDataType::Boolean, DbDataType::Uuid, DbDataType::RangeInt32, DbDataType::Datetime, \
    DbDataType::Interval]\n\
    [[DbValue::Int32(1), DbValue::Str(\"ada\"), DbValue::Date((1815, 12, 10)), \
    DbValue::ArrayStr([Some(\"a b\"), None]), DbValue::Decimal(\"1.50\"), DbValue::Int64(7), \
    DbValue::Boolean(true), DbValue::DbNull, \
    DbValue::RangeInt32((Some((1, RangeBoundKind::Inclusive)), Some((5, RangeBoundKind::Exclusive)))), \
    DbValue::Datetime((2024, 2, 29, 11, 0, 0, 0)), \
    DbValue::Interval(Interval { micros: 0, days: 1, months: 0 })]]\n\
    Some(Error::ConnectionFailed(\"access_denied: database \\\"host=localhost user=ada\\\" is not granted: add it to \
    handler.c.databases in the configuration\"))\n";

#[test]
fn a_component_of_spins_sdk_5_has_tables_on_a_server() {
    let Some(server) = DatabaseServer::start() else { return };
    let Some(seen) = asked_for_tables("spin5", &server, &["/tables"]) else { return };

    assert_eq!(seen, [TABLES]);
}

#[test]
fn a_component_of_spins_sdk_7_has_tables_on_a_server_and_in_a_file() {
    let Some(server) = DatabaseServer::start() else { return };
    let Some(seen) = asked_for_tables("spin7", &server, &["/tables", "/words"]) else { return };

    let words = "2 2\n[\"word\", \"id\", \"0.5\"] \
        [RowResult { values: [Value::Text(\"a\"), Value::Integer(1), Value::Real(0.5)] }, \
        RowResult { values: [Value::Null, Value::Integer(2), Value::Real(0.5)] }]\n\
        16 Error::Io(\"too_many: a job may await 16 statements at once, those included whose rows it has not read\") 2\n\
        Some(Error::AccessDenied)\n";
    assert_eq!(seen, [TABLES, words]);
}

#[test]
fn a_component_of_wasmcloud_keeps_its_keys_and_logs() {
    let Some((daemon, seen)) = asked("wasmcloud", "") else { return };

    let wanted = "7\n[Some((\"cloud/a\", [111, 110, 101])), None]\n[\"cloud/a\", \"cloud/n\"] None\nfalse\n\
        Some(Error::AccessDenied)\n";
    assert_eq!(seen, wanted);
    daemon.log.line("info cloud: done");
}
