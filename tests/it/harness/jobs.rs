//! The daemon's running jobs, as its admin socket lists them.

use serde_json::Value;

use super::{Client, Daemon};

impl Daemon {
    /// Counts the running jobs of this name; the admin socket is `admin.sock` in the daemon's directory. A listener, such
    /// as `tap`, is counted once it listens.
    pub(crate) fn running(&self, name: &str) -> usize {
        let mut client = Client::unix(&self.path("admin.sock"));
        client.send("POST /jobs/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let jobs: Vec<Value> = serde_json::from_slice(&client.response().body).unwrap();
        jobs.iter().filter(|job| job["handler"] == name).count()
    }
}
