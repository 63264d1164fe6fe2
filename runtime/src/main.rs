//! The `portcullis` program.

#[global_allocator]
static ALLOCATOR: portcullis::observe::heap::ProfiledAllocator = portcullis::observe::heap::ProfiledAllocator;

fn main() -> std::process::ExitCode {
    portcullis::cli::main()
}
