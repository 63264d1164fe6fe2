//! Routes that the daemon answers without a handler.

mod compression;
mod files;
mod nginx;
mod redirects;
mod responses;
