//! The configuration file as it is written: every key, before any check of its value.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::front_schema::{Acme, WrittenGate, WrittenLimit};
use super::reader::{FromToml, Keyed, NamedTable, Scalar, Section, SwitchOrWord, wrong};
use super::report::Diagnostics;
use super::route_schema::{Group, Route, WrittenErrors};
use super::schedule_schema::Scheduled;
use super::shape::Shape;
use super::store_names;
use super::table::table;
use super::trace_schema::WrittenTraces;

table! {
    /// The file itself.
    File {
        /// Where to listen: `PROTO://ADDR`.
        listen: Vec<Keyed<String>>,
        /// Where operators reach the daemon: `unix://PATH`.
        admin: String,
        /// The endpoints that serve metrics and probes, and nothing else: `PROTO://ADDR`.
        observe: Vec<Keyed<String>>,
        admin_mode: Scalar,
        admin_group: Scalar,
        /// What clients may do that are neither root nor the daemon's user: `all`, or `read`.
        admin_group_access: String,
        /// The proxies whose word about their clients is believed: networks, and `unix`.
        trusted_proxies: Vec<Keyed<String>>,
        /// The endpoints whose connections begin with a header of the PROXY protocol.
        proxy_protocol: Vec<Keyed<String>>,
        /// How long running jobs may go on after a shutdown began.
        grace: Scalar,
        /// How long connections are accepted after a shutdown began.
        shutdown_delay: Scalar,
        /// How long the old process may run after an upgrade.
        upgrade_grace: Scalar,
        /// How long the daemon may have no clients before it exits.
        idle_exit: Scalar,
        jobs: Scalar,
        log: String,
        /// Whether each request is logged, or `common`, `combined` or `json`.
        access_log: SwitchOrWord,
        access_log_file: String,
        mask_query: Vec<Keyed<String>>,
        /// Whether each route also answers behind `/v1.14`.
        version_prefix: bool,
        /// Whether responses say which version of a handler made them.
        version_header: bool,
        /// Whether responses say why a request failed.
        reason_header: bool,
        /// What happens to requests in clear: `redirect`.
        https: String,
        /// The form of error responses: `json`, or pages by status.
        errors: WrittenErrors,
        /// The content codings of all routes, the preferred first.
        compress: Vec<Keyed<String>>,
        /// Whether error responses carry the details of a failed job, such as its last line of stderr.
        debug: bool,
        /// Where failed jobs are recorded.
        record_dir: String,
        /// The memory for ended jobs in bytes, or `none`.
        history: Scalar,
        /// Whether durations are counted in histograms.
        histograms: bool,
        /// Whether a changed module or configuration file is loaded by itself.
        watch: bool,
        /// Whether stack traces of guests name files and lines.
        source_lines: bool,
        /// Whether components of wasi:http 0.3 are served.
        wasi_http_03: bool,
        /// Where compiled modules are kept: a directory, or `none`.
        cache: String,
        /// The size of the cache in bytes, without the modules in use.
        cache_size: Scalar,
        /// Where large bodies are kept: a directory.
        scratch: String,
        traces: WrittenTraces,
        compile: Compile,
        hardening: Hardening,
        /// Gates and handlers that the requests of every route must pass.
        before: Vec<Keyed<String>>,
        gate: NamedTable<WrittenGate>,
        unix: Unix,
        http: Http,
        tls: Tls,
        cors: Cors,
        outbound: Outbound,
        /// The limits of every handler that does not set its own.
        limits: Limits,
        store: NamedTable<Store>,
        database: NamedTable<Database>,
        group: NamedTable<Group>,
        handler: NamedTable<Handler>,
        route: Vec<Keyed<Route>>,
    }
}

table! {
    /// `[compile]`: the limits on compiling one module.
    Compile {
        cpu: Scalar,
        memory: Scalar,
        /// Size of the file in bytes.
        module: Scalar,
        /// Size of the largest function in bytes.
        function: Scalar,
        functions: Scalar,
        locals: Scalar,
        types: Scalar,
    }
}

table! {
    /// `[hardening]`: how the process restricts itself.
    Hardening {
        privileges: bool,
        files: bool,
        syscalls: bool,
        /// More directories that stay reachable.
        reach: Vec<Keyed<String>>,
    }
}

table! {
    /// `[unix]`: the group and mode of `unix://` endpoints.
    Unix {
        group: Scalar,
        mode: Scalar,
    }
}

table! {
    /// `[http]`: the limits of a connection.
    Http {
        first_byte: Scalar,
        handshake: Scalar,
        handshakes: Scalar,
        head: Scalar,
        body_idle: Scalar,
        write_idle: Scalar,
        min_rate: Scalar,
        rate_window: Scalar,
        keep_alive: Scalar,
        head_size: Scalar,
        target_size: Scalar,
        fields: Scalar,
        connections: Scalar,
        connections_per_peer: Scalar,
        client_memory: Scalar,
    }
}

table! {
    /// `[tls]`: the certificates, and which endpoints use TLS.
    Tls {
        /// A PEM file; a relative path starts at the directory of this file.
        cert: String,
        key: String,
        acme: Acme,
        /// More certificates, for other names.
        certificate: Vec<Keyed<Certificate>>,
        /// The certificate authorities of clients.
        client_ca: String,
        /// `required` or `optional`.
        client_auth: String,
        /// The revocation lists of those authorities.
        client_crl: String,
        /// The endpoints without TLS.
        plain: Vec<Keyed<String>>,
    }
}

table! {
    /// `[[tls.certificate]]`.
    Certificate {
        cert: String,
        key: String,
    }
}

table! {
    /// `[cors]`: what pages of other origins may do.
    Cors {
        origins: Vec<Keyed<String>>,
        methods: Vec<Keyed<String>>,
        headers: Vec<Keyed<String>>,
        max_age: Scalar,
        credentials: bool,
    }
}

table! {
    /// `[limits]` and `handler.NAME.limits`: the limits of a job.
    Limits {
        memory: Scalar,
        /// The memory of all jobs together; in `[limits]` only.
        total_memory: Scalar,
        time: Scalar,
        cpu: Scalar,
        body: Scalar,
        output: Scalar,
        concurrency: Scalar,
        concurrency_per_peer: Scalar,
        queue: Scalar,
        queue_time: Scalar,
        stderr: Scalar,
        stderr_rate: Scalar,
        handles: Scalar,
        outbound: OutboundLimits,
    }
}

table! {
    /// `limits.outbound`: the outbound requests of a job.
    OutboundLimits {
        calls: Scalar,
        at_once: Scalar,
        connect: Scalar,
        first_byte: Scalar,
        time: Scalar,
        body: Scalar,
    }
}

table! {
    /// `[outbound]`: settings for all outbound requests.
    Outbound {
        /// A file of certificates to trust; a relative path starts at the directory of this file.
        ca: String,
    }
}

table! {
    /// `[store.NAME]`.
    Store {
        /// `memory:`, `redb:PATH`, `redis://...` or `nats://...`. A relative path starts at the directory of this file.
        url: String,
        /// The most bytes that its entries count.
        quota: Scalar,
        /// `sync` or `relaxed`.
        durability: String,
        /// The password for the server, which is not in the configuration.
        password: WrittenSecret,
    }
}

table! {
    /// `[database.NAME]`.
    Database {
        /// `sqlite:PATH` or `postgres://...`. A relative path starts at the directory of this file.
        url: String,
        /// The most bytes of the file.
        quota: Scalar,
        /// The most connections at once.
        connections: Scalar,
        /// The directory of its migrations, `NNNN_name.sql`.
        migrations: String,
        /// A file of certificates to trust instead of the system's.
        ca: String,
        /// The password for the server, which is not in the configuration.
        password: WrittenSecret,
    }
}

table! {
    /// `[handler.NAME]`.
    Handler {
        /// A relative path starts at the directory of this file.
        module: String,
        args: Vec<Keyed<String>>,
        env: NamedTable<String>,
        /// The handlers that its jobs may call.
        calls: Vec<Keyed<String>>,
        /// When it runs by itself.
        schedule: Scheduled,
        /// Variables whose values are not in this file.
        secrets: NamedTable<WrittenSecret>,
        mounts: Vec<Keyed<Mount>>,
        /// The size of each job's own `/tmp`.
        tmp: Scalar,
        limits: Limits,
        /// The number of requests that one instance answers.
        reuse: Scalar,
        /// How many of its requests pass in which time.
        limit: WrittenLimit,
        /// Which of its jobs are recorded: `failures` or `nothing`.
        record: String,
        /// Whether the record holds the part of the body that the job has read.
        record_body: bool,
        /// `cgi` or `raw`.
        output: String,
        /// The `Content-Type` of `raw` output.
        content_type: String,
        /// When a job starts whose request body has no known length: `whole` or `stream`.
        body: String,
        /// What happens to a job when its client disconnects: `cancel` or `finish`.
        client_leaves: String,
        /// Which parts of a path become arguments: `words` or `any`.
        captures: String,
        /// The directory of an interpreter's scripts, as the guest names it.
        scripts: String,
        /// A request that a new version must answer before it serves.
        probe: Probe,
        /// Origins that its jobs may call: `https://HOST`.
        allow: Vec<Keyed<String>>,
        /// Addresses that its jobs may reach although they are not public: `10.1.0.0/16`.
        allow_addresses: Vec<Keyed<String>>,
        /// The stores that its jobs may open.
        stores: store_names::WrittenStores,
        /// The databases that its jobs may open.
        databases: store_names::WrittenStores,
    }
}

table! {
    /// `handler.NAME.secrets.VARIABLE`, or the `password` of a store or database, as a table: exactly one key is set.
    SecretSource {
        /// A relative path starts at the directory of this file.
        file: String,
        /// A variable of the daemon's environment.
        env: String,
    }
}

/// A secret: the name of a service credential, or a table with another source.
#[derive(Debug)]
pub(super) enum WrittenSecret {
    Credential(String),
    Table(SecretSource),
}

impl FromToml for WrittenSecret {
    const SHAPE: &'static Shape = SecretSource::SHAPE;

    fn read(value: &Spanned<DeValue<'_>>, key: &str, report: &Diagnostics<'_>) -> Option<WrittenSecret> {
        match value.get_ref() {
            DeValue::String(text) => Some(WrittenSecret::Credential(text.clone().into_owned())),
            DeValue::Table(_) => SecretSource::read(value, key, report).map(WrittenSecret::Table),
            _ => {
                let wanted = "the name of a credential, { file = \"PATH\" } or { env = \"NAME\" }";
                wrong(value, key, wanted, report)
            }
        }
    }
}

table! {
    /// `handler.NAME.probe`.
    Probe {
        path: String,
        status: Scalar,
    }
}

table! {
    /// A directory that a handler may see.
    Mount {
        /// A relative path starts at the directory of this file.
        host: String,
        /// The guest path.
        guest: String,
        write: bool,
    }
}

/// The keys of all tables.
pub(super) const SHAPE: &Shape = File::SHAPE;

/// Reads a whole document. Returns `None` if it is not TOML; the error is reported.
pub(super) fn document(text: &str, report: &Diagnostics<'_>) -> Option<File> {
    File::read(&syntax(text, report)?, "", report)
}

/// Parses TOML, whatever it sets. Returns `None` if the text is not TOML; the error is reported.
pub(super) fn syntax<'t>(text: &'t str, report: &Diagnostics<'_>) -> Option<Spanned<DeValue<'t>>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let line = error.span().map_or(0, |span| report.line(span.start));
        report.add(line, "", format!("this is not TOML: {}", error.message()));
    }
    let root = Spanned::new(document.span(), DeValue::Table(document.into_inner()));
    errors.is_empty().then_some(root)
}
