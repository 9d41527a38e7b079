//! One request: whether it is a scrape, and what it is answered with. Pure, but for what the sources tell.

use std::net::IpAddr;

use hyper::{
    Method, Request, Response, StatusCode,
    header::{ACCEPT, ALLOW, CONTENT_TYPE, HOST, HeaderMap, HeaderName},
};

use super::{Metrics, classic::classic};

/// Where metrics are.
pub(super) const PATH: &str = "/metrics";

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// Answers `request`.
pub(super) fn answer<B>(metrics: &Metrics, request: &Request<B>) -> Response<String> {
    let headers = request.headers();
    if !is_for_this_machine(headers) {
        let why = "ask for 127.0.0.1, [::1] or localhost: a web page that had its name lead here would ask for that name\n";
        return refuse(StatusCode::MISDIRECTED_REQUEST, why);
    }
    if request.uri().path() != PATH {
        return refuse(StatusCode::NOT_FOUND, "the metrics are at /metrics\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let refused = refuse(StatusCode::METHOD_NOT_ALLOWED, "metrics can be read: GET\n");
        return with(refused, ALLOW, "GET, HEAD");
    }
    match metrics.text() {
        Err(_) => refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics cannot be told\n",
        ),
        Ok(text) if takes_openmetrics(headers) => {
            with(Response::new(text), CONTENT_TYPE, OPENMETRICS)
        }
        Ok(text) => with(Response::new(classic(&text)), CONTENT_TYPE, CLASSIC),
    }
}

fn refuse(status: StatusCode, why: &str) -> Response<String> {
    let mut response = Response::new(why.to_owned());
    *response.status_mut() = status;
    with(response, CONTENT_TYPE, PLAIN)
}

fn with(mut response: Response<String>, name: HeaderName, value: &'static str) -> Response<String> {
    let value = hyper::header::HeaderValue::from_static(value);
    response.headers_mut().insert(name, value);
    response
}

fn takes_openmetrics(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter();
    let accepted = accepted.filter_map(|value| value.to_str().ok());
    let mut kinds = accepted.flat_map(|value| value.split(','));
    kinds.any(|kind| {
        kind.trim_start()
            .starts_with("application/openmetrics-text")
    })
}

/// Whether what was asked for, if the request says, is loopback: a browser says which name a page came from.
fn is_for_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else {
        return true;
    };
    let host = host.to_str().ok().and_then(|host| host.parse().ok());
    let host: Option<hyper::http::uri::Authority> = host;
    host.is_some_and(|host| {
        let host = host.host().trim_matches(['[', ']']);
        let address: Option<IpAddr> = host.parse().ok();
        host.eq_ignore_ascii_case("localhost")
            || address.is_some_and(|address| address.to_canonical().is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: Method, path: &str, header: (HeaderName, &str)) -> Response<String> {
        let request = Request::builder().method(method).uri(path);
        let request = request.header(header.0, header.1).body(()).unwrap();
        answer(&Metrics::new("1.2.3"), &request)
    }

    #[test]
    fn a_scraper_gets_the_format_that_it_takes() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, kind, counter) in [
            (
                prometheus,
                OPENMETRICS,
                "# TYPE remex_log_lines_dropped counter\n",
            ),
            (
                "text/plain",
                CLASSIC,
                "# TYPE remex_log_lines_dropped_total counter\n",
            ),
            (
                "*/*",
                CLASSIC,
                "# TYPE remex_log_lines_dropped_total counter\n",
            ),
        ] {
            let answer = asked(Method::GET, PATH, (ACCEPT, accept));
            assert_eq!(answer.headers()[CONTENT_TYPE], kind);
            let text = answer.into_body();
            assert!(text.contains(counter), "{text}");
            assert!(
                text.contains("\nremex_build_info{version=\"1.2.3\"} 1\n"),
                "{text}"
            );
            assert_eq!(text.ends_with("# EOF\n"), kind == OPENMETRICS, "{text}");
        }
    }

    #[test]
    fn what_is_no_scrape_is_told_so() {
        let host = |host| (HOST, host);
        for (method, path, host, status) in [
            (Method::GET, PATH, host("127.0.0.1:9464"), 200),
            (Method::HEAD, PATH, host("[::1]:9464"), 200),
            (Method::GET, PATH, host("LOCALHOST"), 200),
            (Method::POST, PATH, host("127.0.0.1"), 405),
            (Method::GET, "/", host("127.0.0.1"), 404),
            (Method::GET, "/metrics/", host("127.0.0.1"), 404),
        ] {
            assert_eq!(asked(method, path, host).status(), status, "{path}");
        }
    }

    #[test]
    fn pitfall_34_a_web_page_whose_name_leads_here_reads_nothing() {
        for host in [
            "evil.example",
            "evil.example:9464",
            "192.0.2.7",
            "127.0.0.1.evil.example",
            "",
            "a b",
        ] {
            let answer = asked(Method::GET, PATH, (HOST, host));
            assert_eq!(answer.status(), 421, "{host}");
            assert!(!answer.into_body().contains("remex_"));
        }
    }
}
