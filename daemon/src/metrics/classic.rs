//! Prometheus' own text format, of what OpenMetrics is: there a counter's name has its `_total` everywhere, and neither units nor
//! the end are said. Pure.

/// OpenMetrics' text format, in which names of counters stand without `_total`.
pub(super) fn classic(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let mut lines = openmetrics.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        let described = line
            .strip_prefix("# HELP ")
            .and_then(|rest| rest.split_once(' '));
        let counted = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.strip_suffix(" counter"));
        match (described, counted) {
            (Some((name, help)), _) if lines.peek().is_some_and(|next| is_counter(next, name)) => {
                text.extend(["# HELP ", name, "_total ", help]);
            }
            (_, Some(name)) => text.extend(["# TYPE ", name, "_total counter"]),
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

fn is_counter(line: &str, name: &str) -> bool {
    line.strip_prefix("# TYPE ")
        .and_then(|rest| rest.strip_prefix(name))
        .is_some_and(|rest| rest == " counter")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_called_what_their_samples_are() {
        let openmetrics = "# HELP runs How often.\n# TYPE runs counter\nruns_total{a=\"# EOF\"} 1\n\
                           # HELP wait_seconds How long.\n# TYPE wait_seconds gauge\n# UNIT wait_seconds seconds\n\
                           wait_seconds 2\n# EOF\n";
        assert_eq!(
            classic(openmetrics),
            "# HELP runs_total How often.\n# TYPE runs_total counter\nruns_total{a=\"# EOF\"} 1\n\
             # HELP wait_seconds How long.\n# TYPE wait_seconds gauge\nwait_seconds 2\n"
        );
        assert_eq!(classic("# EOF\n"), "");
    }
}
