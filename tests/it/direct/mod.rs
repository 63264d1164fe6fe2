//! Routes that the daemon answers without a handler.

mod compression;
mod files;
mod groups;
mod nginx;
mod redirects;
mod responses;
