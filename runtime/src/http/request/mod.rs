//! Turns a request into a job, and the job into the response.
//!
//! Lowest first; a file uses those above it in this list.
//!
//! | file | holds |
//! |---|---|
//! | `date` | the `Date` field |
//! | `upgrade_fields` | the fields that name another protocol |
//! | `reserved_fields` | the fields that only the daemon may set |
//! | `client_address` | the client behind trusted proxies |
//! | `panic` | the guard that lets a panic end only its own request |
//! | `runtime_bound_body` | a body that stays within the runtime of the daemon |
//! | `request_trace` | the span of a request, and what its job is told of it |
//! | `gate_pass` | what gates tell the handler behind them, and the client |
//! | `cgi_job` | the arguments and the environment of a CGI handler's job |
//! | `logged_job` | the job of a request, as far as its failure is logged and counted |
//! | `access_line` | the line of a request in the access log, in each format |
//! | `request_log` | the log line and the counters of a request |
//! | `h2_rules` | the rules of HTTP/1 for HTTP/2 heads |
//! | `rate_limit` | the rate limits of a route |
//! | `arriving_body` | a request body while it arrives |
//! | `drain_body` | a request body that is drained when dropped |
//! | `read_ahead` | the beginning of a request body, read before the job starts |
//! | `spool_file` | the part of a stored request body that is written to a file |
//! | `spooled_body` | a request body of unknown length, stored until it is complete |
//! | `request_body` | a request body as the input of a job |
//! | `body_source` | the source of a job's response body |
//! | `coalesce` | small pieces of a response body, joined |
//! | `job_run` | a job until its end, and the wait for what it writes |
//! | `job_task` | a job polled by a task of its own |
//! | `job_end_log` | the end of a job whose response head was sent |
//! | `running_job` | a job that runs to give a response |
//! | `job_body` | a response body that a job is still writing |
//! | `frame_source` | the trait of response bodies of other origin |
//! | `response_body` | a response body, as hyper reads it |
//! | `refusal_response` | a refusal as a response |
//! | `error_page` | pages in place of error responses |
//! | `compress` | compressed responses |
//! | `direct_response` | redirects, fixed responses, and responses about methods |
//! | `rewrite` | the target of a request, changed before it is routed |
//! | `health` | answers to health checks |
//! | `acme_challenge` | answers to validations by an ACME server |
//! | `job_response` | the response of a job whose head is known |
//! | `cgi_response` | the head that a CGI job writes |
//! | `wasi_http` | the job and response of a `wasi:http` handler |
//! | `bodiless_get` | a GET of the daemon itself, whatever the kind of the handler |
//! | `gates` | the gates of a route |
//! | `probe` | a request of the daemon to itself |

pub(in crate::http) mod access_line;
pub(in crate::http) mod acme_challenge;
pub(in crate::http) mod arriving_body;
mod bodiless_get;
pub(in crate::http) mod body_source;
pub(in crate::http) mod cgi_job;
pub(in crate::http) mod cgi_response;
pub(in crate::http) mod client_address;
pub(in crate::http) mod coalesce;
pub(in crate::http) mod compress;
pub(in crate::http) mod date;
pub(in crate::http) mod direct_response;
pub(in crate::http) mod drain_body;
pub(in crate::http) mod error_page;
pub(in crate::http) mod frame_source;
pub(in crate::http) mod gate_pass;
pub(in crate::http) mod gates;
pub(in crate::http) mod h2_rules;
pub(in crate::http) mod health;
pub(in crate::http) mod job_body;
pub(in crate::http) mod job_end_log;
pub(in crate::http) mod job_response;
pub(in crate::http) mod job_run;
pub(in crate::http) mod job_task;
pub(in crate::http) mod logged_job;
pub(in crate::http) mod panic;
pub(in crate::http) mod probe;
pub(in crate::http) mod rate_limit;
pub(in crate::http) mod read_ahead;
pub(in crate::http) mod refusal_response;
pub(in crate::http) mod request_body;
pub(in crate::http) mod request_log;
pub(in crate::http) mod request_trace;
pub(in crate::http) mod reserved_fields;
pub(in crate::http) mod response_body;
pub(in crate::http) mod rewrite;
pub(in crate::http) mod running_job;
pub(in crate::http) mod runtime_bound_body;
pub(in crate::http) mod spool_file;
pub(in crate::http) mod spooled_body;
pub(in crate::http) mod upgrade_fields;
pub(in crate::http) mod wasi_http;
