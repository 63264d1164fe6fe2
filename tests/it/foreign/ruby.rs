//! Ruby, from npm: a library for JavaScript, turned into a program by three small modules.

use std::fs;

use super::tools::{filled, npm};
use super::{LONG, build, meets_its_memory_limit, tried};
use crate::harness::Setup;

/// The modules that turn it into a program, with the names by which `wasm-merge` joins them.
const GLUE: [(&str, &str, &str); 3] = [
    ("host", "rb-js-abi-host", include_str!("ruby/host.wat")),
    ("canon", "canonical_abi", include_str!("ruby/canon.wat")),
    ("main", "main", include_str!("ruby/main.wat")),
];

/// With the query `all`, it takes all the memory that it gets.
const APP: &str = r#"
require "json"
if ENV["QUERY_STRING"] == "all"
  held = []
  loop { held << "x" * 32_768 }
end
text = $stdin.read
puts "Content-Type: application/json", ""
puts JSON.generate({ "ruby" => RUBY_VERSION[0, 3], "text" => text.reverse, "query" => ENV["QUERY_STRING"] })
"#;

#[test]
fn a_ruby_script_is_a_handler_and_ends_at_its_memory_limit() {
    let Some(tools) = npm() else { return };
    let library = tools.place.join("node_modules/@ruby/3.4-wasm-wasi/dist/ruby+stdlib.wasm");
    let merged = filled("ruby-3.4", |place| {
        let mut merge = tools.run("binaryen/bin/wasm-merge");
        merge.arg(&library).arg("ruby");
        for (file, name, text) in GLUE {
            let module = place.join(file).with_extension("wasm");
            fs::write(&module, wat::parse_str(text).unwrap()).unwrap();
            merge.arg(module).arg(name);
        }
        build(merge.args(["-all", "-o"]).arg(place.join("ruby.wasm")));
        Some(())
    });
    let Some(merged) = merged else { return };
    let setup = Setup::new(
        "admin = \"unix://admin.sock\"\n\
         [handler.r]\nmodule = \"ruby.wasm\"\nmounts = [{ host = \"app\", guest = \"/app\" }]\n\
         limits.memory = \"256MiB\"\nlimits.cpu = \"60s\"\nlimits.time = \"300s\"\n\
         [[route]]\npath = \"/ruby\"\nhandler = \"r\"\n",
    );
    fs::create_dir(setup.path("app")).unwrap();
    fs::write(setup.path("app/app.rb"), APP).unwrap();
    fs::copy(merged.join("ruby.wasm"), setup.path("ruby.wasm")).unwrap();

    let (daemon, response) = tried("Ruby 3.4, CGI", setup, |daemon| {
        daemon.client().patient(LONG).submit("POST", "/ruby?a=b", "", b"stressed")
    });

    let told = "{\"ruby\":\"3.4\",\"text\":\"desserts\",\"query\":\"a=b\"}\n";
    assert_eq!((response.status(), response.text()), (200, told));
    meets_its_memory_limit(&daemon, "r", "/ruby?all", "256MiB");
}
