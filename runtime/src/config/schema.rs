//! The configuration file as it is written: every key there is, and nothing decided yet.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::reader::{At, FromToml, Named, Scalar, Section, wrong};
use super::report::Report;

/// Defines a table by its keys, all of them optional, and how it is read: one definition, so that no
/// key can be documented and not read, or read and not known.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident { $($(#[$key_doc:meta])* $key:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub(super) struct $name {
            $($(#[$key_doc])* pub(super) $key: Option<At<$kind>>,)*
        }

        impl FromToml for $name {
            fn read(value: &Spanned<DeValue<'_>>, key: &str, report: &Report<'_>) -> Option<$name> {
                let mut section = Section::of(value, key, report)?;
                let table = $name { $($key: section.take(stringify!($key)),)* };
                section.finish();
                Some(table)
            }
        }
    };
}

table! {
    /// The file itself.
    File {
        /// Where to listen: `PROTO://ADDR`.
        listen: Vec<At<String>>,
        /// Where operators reach the daemon: `unix://PATH`.
        admin: String,
        /// Where metrics and probes are shown, and nothing else: `PROTO://ADDR`.
        observe: Vec<At<String>>,
        /// Octal.
        admin_mode: Scalar,
        /// A name or a number.
        admin_group: Scalar,
        /// How long running jobs may go on after a shutdown began.
        grace: Scalar,
        /// How long connections are accepted after a shutdown began.
        shutdown_delay: Scalar,
        /// How long the process before an upgrade may go on.
        upgrade_grace: Scalar,
        /// How long nobody may want anything of the daemon before it ends.
        idle_exit: Scalar,
        /// Jobs at once over all handlers.
        jobs: Scalar,
        /// Whether each request is logged.
        access_log: bool,
        /// Whether each route also answers behind `/v1.14`.
        version_prefix: bool,
        /// Whether responses say which version of a handler made them.
        version_header: bool,
        /// Whether responses say why a request failed.
        reason_header: bool,
        /// Whether responses say what a handler says to its operator.
        debug: bool,
        /// Where failed jobs are kept.
        record_dir: String,
        /// Whether a module or configuration that changes on disk is taken up.
        watch: bool,
        /// Whether stacks of guests name files and lines.
        source_lines: bool,
        /// Whether components of wasi:http 0.3 are served.
        wasi_http_03: bool,
        /// Where compiled modules are kept: a directory, or `none`.
        cache: String,
        /// Bytes of compiled modules that are kept beside those in use.
        cache_size: Scalar,
        /// Where large bodies are kept: a directory.
        scratch: String,
        compile: Compile,
        hardening: Hardening,
        unix: Unix,
        http: Http,
        tls: Tls,
        cors: Cors,
        outbound: Outbound,
        /// Every handler, unless it says otherwise.
        limits: Limits,
        handler: Named<Handler>,
        route: Vec<At<Route>>,
    }
}

table! {
    /// `[compile]`: what compiling one module may take.
    Compile {
        cpu: Scalar,
        memory: Scalar,
        /// Bytes of its file.
        module: Scalar,
        /// Bytes of its largest function.
        function: Scalar,
        functions: Scalar,
        locals: Scalar,
        types: Scalar,
    }
}

table! {
    /// `[hardening]`: what the process takes from itself.
    Hardening {
        privileges: bool,
        files: bool,
        syscalls: bool,
        /// Directories that are in reach besides.
        reach: Vec<At<String>>,
    }
}

table! {
    /// `[unix]`: the sockets of `unix://` endpoints.
    Unix {
        /// A name or a number.
        group: Scalar,
        /// Octal.
        mode: Scalar,
    }
}

table! {
    /// `[http]`: what a connection may take.
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
    }
}

table! {
    /// `[tls]`: what is encrypted, and how.
    Tls {
        /// PEM, relative to the file.
        cert: String,
        key: String,
        /// More certificates, for other names.
        certificate: Vec<At<Certificate>>,
        /// The authorities that issue to clients.
        client_ca: String,
        /// `required` or `optional`.
        client_auth: String,
        /// What they have taken back.
        client_crl: String,
        /// Endpoints that stay in clear.
        plain: Vec<At<String>>,
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
    /// `[cors]`: what browsers of other origins may do.
    Cors {
        origins: Vec<At<String>>,
        methods: Vec<At<String>>,
        headers: Vec<At<String>>,
        max_age: Scalar,
        credentials: bool,
    }
}

table! {
    /// `[limits]` and `handler.NAME.limits`: what a job may use.
    Limits {
        memory: Scalar,
        /// Of all jobs together; of `[limits]` alone.
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
    /// `limits.outbound`: what a job may ask of other servers.
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
    /// `[outbound]`: how other servers are spoken to.
    Outbound {
        /// Certificates to believe, relative to the file.
        ca: String,
    }
}

table! {
    /// `[handler.NAME]`.
    Handler {
        /// Relative to the file.
        module: String,
        args: Vec<At<String>>,
        env: Named<String>,
        /// The handlers that its jobs may call.
        calls: Vec<At<String>>,
        /// When it runs by itself.
        schedule: Scheduled,
        /// Variables whose values are elsewhere.
        secrets: Named<Secret>,
        mounts: Vec<At<Mount>>,
        /// What each job may have in a `/tmp` of its own.
        tmp: Scalar,
        limits: Limits,
        /// Requests that one instance answers.
        reuse: Scalar,
        /// Which of its jobs are kept: `failures` or `nothing`.
        record: String,
        /// Whether what such a job has read is kept with it.
        record_body: bool,
        /// `cgi` or `raw`.
        output: String,
        /// Of `raw` output.
        content_type: String,
        /// When a job begins whose body is of unknown length: `whole` or `stream`.
        body: String,
        /// What becomes of a job whose client has left: `cancel` or `finish`.
        client_leaves: String,
        /// Which parts of a path become arguments: `words` or `any`.
        captures: String,
        /// The directory of an interpreter's scripts, as the guest names it.
        scripts: String,
        /// A request that a new version must answer before it serves.
        probe: Probe,
        /// Origins it may ask: `https://HOST`.
        allow: Vec<At<String>>,
        /// Addresses it may reach that are not public: `10.1.0.0/16`.
        allow_addresses: Vec<At<String>>,
    }
}

table! {
    /// `handler.NAME.secrets.VARIABLE`, as a table: one of the two.
    SecretSource {
        /// Relative to the file.
        file: String,
        /// A variable of the daemon's.
        env: String,
    }
}

/// `handler.NAME.secrets.VARIABLE`: the name of a credential of the service, or where else the value is.
#[derive(Debug)]
pub(super) enum Secret {
    Credential(String),
    Table(SecretSource),
}

impl FromToml for Secret {
    fn read(value: &Spanned<DeValue<'_>>, key: &str, report: &Report<'_>) -> Option<Secret> {
        match value.get_ref() {
            DeValue::String(text) => Some(Secret::Credential(text.clone().into_owned())),
            DeValue::Table(_) => SecretSource::read(value, key, report).map(Secret::Table),
            _ => {
                let wanted = "the name of a credential, { file = \"PATH\" } or { env = \"NAME\" }";
                wrong(value, key, wanted, report)
            }
        }
    }
}

table! {
    /// `handler.NAME.schedule`, as a table.
    Schedule {
        /// An expression of cron(8).
        cron: String,
        args: Vec<At<String>>,
        stdin: String,
        /// Whether a run may begin while the one before it goes on.
        overlap: bool,
    }
}

/// `handler.NAME.schedule`: an expression alone, or with what goes with it.
#[derive(Debug)]
pub(super) enum Scheduled {
    Cron(String),
    Table(Schedule),
}

impl FromToml for Scheduled {
    fn read(value: &Spanned<DeValue<'_>>, key: &str, report: &Report<'_>) -> Option<Scheduled> {
        match value.get_ref() {
            DeValue::String(text) => Some(Scheduled::Cron(text.clone().into_owned())),
            DeValue::Table(_) => Schedule::read(value, key, report).map(Scheduled::Table),
            _ => wrong(value, key, "a string such as \"*/5 * * * *\", or a table", report),
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
        /// Relative to the file.
        host: String,
        /// What the handler calls it.
        guest: String,
        write: bool,
    }
}

table! {
    /// `[[route]]`.
    Route {
        path: String,
        methods: Vec<At<String>>,
        host: String,
        handler: String,
        /// What its clients change over to: `tcp` or `websocket`.
        upgrade: String,
        websocket: WebSocket,
    }
}

table! {
    /// `route.websocket`.
    WebSocket {
        /// `lines` or `frames`.
        messages: String,
        message_size: Scalar,
        protocols: Vec<At<String>>,
        origins: Vec<At<String>>,
        ping: Scalar,
        idle: Scalar,
    }
}

/// Reads a whole document; none: it is not TOML, which is reported.
pub(super) fn document(text: &str, report: &Report<'_>) -> Option<File> {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let line = error.span().map_or(0, |span| report.line(span.start));
        report.add(line, "", format!("this is not TOML: {}", error.message()));
    }
    let span = document.span();
    let root = Spanned::new(span, DeValue::Table(document.into_inner()));
    errors.is_empty().then(|| File::read(&root, "", report)).flatten()
}
