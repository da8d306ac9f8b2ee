//! Benchmarks and services.

use super::*;

#[test]
fn a_benchmark_of_unknown_rows_is_an_error() {
    let bench = |from: &str, to: &str, parts: &[&str]| check_error(from, &format!("{to} # here\n"), "# here", parts);
    bench("    image: 314t-with-acme\n", "    image: 314t-with-acm", &["bench.build.image", "`314t-with-acme`"]);
    bench("    image: 314t-with-acme\n", "    image: 314t", &["bench.build.image", "must contain"]);
    let container = "    container: {package: acme, abi: cp314t}\n";
    bench(container, "    container: {package: acme-py, abi: cp314t}", &["container.package", "the choices are"]);
    bench(container, "    container: {package: acme, abi: cp311}", &["container.abi", "is downloaded"]);
    let maturin = "    maturin: {package: acme-py, abis: [cp311, cp314t], touch: rust/src/lib.rs}\n";
    let other = |text: &str| format!("    maturin: {{package: acme-py, {text}}}");
    bench(maturin, &other("abis: [cp311, cp315t], touch: rust/src/lib.rs"), &["maturin.abis", "`cp314t`"]);
    bench(maturin, &other("abis: [cp311, cp314t], touch: ../lib.rs"), &["maturin.touch", "not a relative path"]);
    let application = "    application: {package: demo-app, touch: src/app/__init__.py}\n";
    let other = |text: &str| format!("    application: {{{text}}}");
    bench(application, &other("package: acme, touch: a.py"), &["application.package", "the choices are `demo-app`"]);
    bench(application, &other("package: demo-app, touch: /a.py"), &["application.touch", "not a relative path"]);
    let elsewhere = "    packages: [acme-py, acme, demo-app]\n    env: {PYTHON_GIL: \"0\"}\n";
    let without = elsewhere.replace(", demo-app", "");
    let line = "    application: {package: demo-app";
    check_error(elsewhere, &without, line, &["application.package", "`314t-with-acme` must contain `demo-app`"]);
}

#[test]
fn a_benchmark_row_that_could_not_be_measured_is_an_error() {
    let cold = "      - {row: acme-cold, measure: container-cold, ratio: 0.45, minutes: 2}\n";
    let row = |to: &str, parts: &[&str]| check_error(cold, &format!("      - {{{to}}} # here\n"), "# here", parts);
    row("row: acme-cold, measure: container", &["rows[3].measure", "unknown variant `container`", "`container-cold`"]);
    row("row: wheels-cold, measure: container-cold", &["bench.build.rows[].row", "`wheels-cold`", "twice"]);
    row("row: acme-cold, measure: maturin-cold", &["rows[].measure", "`acme-cold` measures the same as `wheels-cold`"]);
    row("row: acme-cold, measure: container-cold, ratio: 0", &["rows[].ratio", "greater than 0"]);
    row("row: acme-cold, measure: container-cold, seconds: .inf", &["rows[].seconds", "greater than 0"]);
    row("row: acme-cold, measure: container-cold, ratio: half", &["rows[3].ratio", "invalid type"]);
    let plan = "measure: plan, seconds: 0.03";
    check_error(plan, "measure: plan, ratio: 0.5", "measure: plan,", &["rows[].ratio", "can only be `seconds`"]);
    let container = "    container: {package: acme, abi: cp314t}\n";
    check_error(container, "", "row: acme-cold", &["rows[].measure", "`acme-cold` needs the field `container`"]);
    let application = "    application: {package: demo-app, touch: src/app/__init__.py}\n";
    let parts = ["rows[].measure", "`image-one-file` needs the field `application`"];
    check_error(application, "", "row: image-one-file", &parts);
    row("row: acme-cold, measure: everything-optimized, ratio: -1", &["rows[].ratio", "greater than 0"]);
}

#[test]
fn an_invalid_load_test_is_an_error() {
    let solo = "{id: 314t-solo-sync, title: \"3.14t, sync alone\", image: 314t-with-acme, gil: \"forced off\",";
    let config = |to: &str, parts: &[&str]| check_error(solo, to, "# 314t-solo", parts);
    let row = |id: &str, title: &str, image: &str, gil: &str| {
        format!("{{id: {id}, title: {title}, image: {image}, gil: \"{gil}\", # 314t-solo\n       ")
    };
    check_error(
        solo,
        &row("\"314\"", "x", "314t", "off"),
        "# 314t-solo",
        &["bench.serve.configs", "`314` occurs twice"],
    );
    config(&row("314t-solo-x", "x", "314u", "off"), &["configs[].image", "no `314u`", "`314t-with-acme`"]);
    config(&row("314t-solo-x", "\"\"", "314t", "off"), &["configs[].title", "one-line title"]);
    config(&row("314t-solo-x", "x", "\"314\"", "off"), &["configs[].gil", "`cp314` always has a GIL"]);
    check_error(
        "clients: [sync]}",
        "clients: []}",
        "clients: []}",
        &["configs[].clients", "must list at least one client"],
    );
    check_error(
        "scenarios: [single,",
        "scenarios: [stress,",
        "scenarios: [stress",
        &["scenarios", "`stress` occurs twice"],
    );
    check_error(
        "open: arrival",
        "open: arrivals",
        "open: arrivals",
        &["bench.serve.open", "`arrivals` is not one of", "`stress`"],
    );
    check_error(
        "      stages:\n        env: {ACME_PY_INTERNAL_METRICS: \"1\"}\n        metric: client_stage_seconds\n        \
         label: stage\n        order: [limiter_wait, io, spawn_blocking_delay, to_dict]\n",
        "",
        "id: 311-stages",
        &["configs[].stages", "`metrics.stages` is missing"],
    );
    let order = "order: [limiter_wait, io, spawn_blocking_delay, to_dict]\n";
    let meaning = |text: &str| format!("{order}        meaning: {text}\n");
    let field = "metrics.stages.meaning";
    check_error(
        order,
        &meaning("{ios: the answer}"),
        "client_stage_seconds",
        &[field, "`ios` is not one of the stages"],
    );
    check_error(order, &meaning("{io: \"a\\nb\"}"), "client_stage_seconds", &[field, "`io` needs one line of text"]);
    check_error("runtime: /runtime", "runtime: runtime", "runtime: runtime", &["bench.serve", "must start with `/`"]);
    check_error(
        "scripts: load",
        "scripts: ../loadtest",
        "scripts: ../",
        &["bench.serve.scripts", "not a relative path"],
    );
    let digest = "@sha256:8b2d6ca96ef9f36d4d3b8ca3651c9cffffe89382faf27ee0e1e617f33554e329";
    check_error(digest, "", "k6: grafana", &["bench.serve.k6", "no digest"]);
}

#[test]
fn an_invalid_service_is_an_error() {
    let own = "- id: demo-app";
    check_error("command: [python, -m, app]", "command: []", own, &["packages[].serve", "`command`"]);
    check_error("load: [load-data]", "load: [\"\"]", own, &["packages[].serve", "`load`"]);
    check_error("env: {server: ACME_HOSTS, host", "env: {host", own, &["packages[].serve", "`env.server` is missing"]);
    check_error("      load: [load-data]\n", "", "id: \"311\"", &["bench.serve.configs", "no `serve.load`"]);
    check_error("port: 8000", "port: 0", own, &["serve.port"]);
    check_error("ready: /ready", "ready: ready", "ready: ready", &["serve.ready", "must start with `/`"]);
    let digest = "@sha256:5eb61b7397e30e1e8a3774f2a0d2d573661319562b9ec9f07ee0fa01713a6b83";
    check_error(digest, "", "image: acme/acme-server", &["server.image", "no digest"]);
    check_error("port: 3000", "port: 0", "image: acme/acme-server", &["server.port"]);
}

#[test]
fn two_services_in_one_image_are_an_error() {
    let start = FIXTURE.find("  - id: demo-app").unwrap();
    let end = FIXTURE.find("images:\n  - {tag: \"311\"").unwrap();
    let second = FIXTURE[start..end].replace("demo-app", "second-app");
    let text = format!("{}{second}{}", &FIXTURE[..end], &FIXTURE[end..])
        .replace("packages: [acme-py, demo-app]", "packages: [second-app, demo-app]");
    let error = format!("{:#}", Matrix::parse(&text, "matrix.yaml").unwrap_err());
    assert!(
        error.contains("images[].packages") && error.contains("`second-app`") && error.contains("only one"),
        "{error}"
    );
}
