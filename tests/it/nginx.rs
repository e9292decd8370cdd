//! A real nginx, by its stub_status page.

use std::time::Duration;

use stackwatch_tests::redis::Program;
use stackwatch_tests::stackwatch::{Stackwatch, free_address};
use stackwatch_tests::{eventually, http, skipped};

#[test]
fn nginx_is_watched_by_its_stub_status_page() {
    let dir = tempfile::tempdir().unwrap();
    let address = free_address();
    let conf = format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr;
events {{ worker_connections 64; }}
http {{ access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  server {{ listen {address}; location /stub_status {{ stub_status; }} location / {{ return 204; }} }} }}"
    );
    std::fs::write(dir.path().join("nginx.conf"), conf).unwrap();
    let prefix = format!("{}/", dir.path().display());
    let args = ["-p", prefix.as_str(), "-c", "nginx.conf", "-e", "stderr"];
    let started = ["nginx", "/usr/sbin/nginx"];
    let Some(_nginx) = started
        .iter()
        .find_map(|name| Program::start(name, dir.path(), &args))
    else {
        return skipped("no nginx");
    };
    let get = || http::request("GET", &address, "/", &[], "");
    eventually("nginx answers", Duration::from_secs(15), || get().ok());
    for _ in 0..20 {
        get().unwrap();
    }
    let config = format!(
        "collect: {{ host: false, docker: false, interval: 1s, nginx: [ {{ url: 'http://{address}' }} ] }}\n"
    );
    let stackwatch = Stackwatch::start(dir.path(), &config);
    eventually("its requests", Duration::from_secs(15), || {
        let selector = format!("{{job=\"nginx\",instance=\"{address}\"}}");
        let requests = stackwatch.value(&format!("nginx_http_requests_total{selector}"))?;
        let up = stackwatch.value(&format!("nginx_up{selector}"))?;
        (requests > 20.0 && up == 1.0).then_some(())
    });
    // Each scrape is a connection that is being answered.
    assert_eq!(stackwatch.value("nginx_connections_writing"), Some(1.0));
    let types = stackwatch.get("/api/v1/metadata").json();
    for (name, kind) in [
        ("nginx_connections_accepted", "counter"),
        ("nginx_connections_active", "gauge"),
        ("nginx_connections_handled", "counter"),
        ("nginx_connections_reading", "gauge"),
        ("nginx_connections_waiting", "gauge"),
        ("nginx_connections_writing", "gauge"),
        ("nginx_http_requests_total", "counter"),
        ("nginx_up", "gauge"),
    ] {
        assert_eq!(types["data"][name][0]["type"], kind, "{name}");
    }
}
