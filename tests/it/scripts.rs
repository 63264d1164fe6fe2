//! The scripts of an interpreter: how a URL leads to a file.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;

use crate::harness::{Daemon, Program, Response, Setup};

/// An interpreter that prints its variables and its arguments, with scripts in `app` below `/php`.
fn serve(settings: &str) -> Daemon {
    let module = Program::text().environment().wasm();
    let setup = Setup::new("").handler(
        "php",
        &format!("mounts = [{{ host = \"app\", guest = \"/app\" }}]\nscripts = \"/app\"\n{settings}"),
        &module,
    );
    let app = setup.path("app");
    fs::create_dir_all(app.join("blog")).unwrap();
    for file in ["a.php", "index.php", "blog/index.php", ".env", "-x.php"] {
        fs::write(app.join(file), "").unwrap();
    }
    symlink("../portcullis.toml", app.join("out.php")).unwrap();
    setup
        .add("[[route]]\npath = \"/s/{*rest}\"\nhandler = \"php\"\n")
        .prepend("reason_header = true\n")
        .start()
}

fn variables(response: &Response) -> BTreeMap<String, String> {
    let pairs = response.text();
    let pairs = pairs.split('\0').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn a_url_leads_to_a_script_as_cgi_has_it() {
    let daemon = serve("");

    for (target, name, file, info, translated) in [
        ("/s/a.php", "/s/a.php", "/app/a.php", "", None),
        ("/s/a.php?x=1", "/s/a.php", "/app/a.php", "", None),
        ("/s/a.php/b/c", "/s/a.php", "/app/a.php", "/b/c", Some("/app/b/c")),
        ("/s/", "/s/index.php", "/app/index.php", "", None),
        ("/s/blog", "/s/blog/index.php", "/app/blog/index.php", "", None),
        ("/s/blog/index.php/2026", "/s/blog/index.php", "/app/blog/index.php", "/2026", Some("/app/2026")),
        ("/s/%61.php", "/s/a.php", "/app/a.php", "", None),
        ("/s/-x.php", "/s/-x.php", "/app/-x.php", "", None),
        ("/php", "/php/index.php", "/app/index.php", "", None),
    ] {
        let response = daemon.get(target);
        let told = variables(&response);
        let get = |name: &str| told.get(name).map(String::as_str);

        assert_eq!(response.status(), 200, "{target}: {}", response.text());
        assert_eq!(
            [get("SCRIPT_NAME"), get("SCRIPT_FILENAME"), get("DOCUMENT_ROOT"), get("PATH_INFO")],
            [Some(name), Some(file), Some("/app"), Some(info)],
            "{target}"
        );
        assert_eq!((get("PATH_TRANSLATED"), get("REDIRECT_STATUS")), (translated, Some("200")), "{target}");
    }
}

#[test]
fn what_is_no_script_is_404_and_no_path_leads_out_of_the_mount() {
    let daemon = serve("");

    for target in ["/s/none.php", "/s/blog/none", "/s/.env", "/s/out.php", "/s/out.php/x", "/s/blog/.git/x"] {
        let response = daemon.get(target);
        assert_eq!(response.status(), 404, "{target}: {}", response.text());
        assert_eq!(response.field("x-portcullis-reason"), Some("no_script"), "{target}");
    }
    for target in ["/s/../portcullis.toml", "/s/%2e%2e/portcullis.toml"] {
        assert_eq!(daemon.get(target).status(), 400, "{target}");
    }
    assert!(!daemon.log.text().contains("WARN"), "clients alone are told");
}

#[test]
fn scripts_want_a_mount_and_a_program() {
    let module = Program::text().wasm();
    let alone = Setup::one("scripts = \"/app\"", &module).fail();
    assert!(alone.stderr.contains("\"/app\" is in no mount of this handler: add mounts"), "{}", alone.stderr);

    let beside = "mounts = [{ host = \".\", guest = \"/application\" }]\nscripts = \"/app\"";
    let beside = Setup::one(beside, &module).fail();
    assert!(beside.stderr.contains("is in no mount"), "{}", beside.stderr);
}
