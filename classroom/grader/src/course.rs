//! What `make grade` leaves for others to read: JUnit XML, and what GitHub Classroom's reporter of
//! autograding takes.

use quick_xml::escape::escape;
use serde_json::{Value, json};

use crate::about::ALL;
use crate::grading::Report;

/// A test suite with a test case for each exercise. One that was left out is skipped.
pub fn junit(reports: &[Report]) -> String {
    let count = |is: fn(&Report) -> bool| reports.iter().filter(|one| is(one)).count();
    let (failures, skipped) =
        (count(|one| !one.skipped && !one.passed()), count(|one| one.skipped));
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"classroom\" \
         tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\">\n",
        reports.len()
    );
    for Report { exercise, points, of, reason, skipped } in reports {
        let dir = ALL.iter().find(|about| about.name == exercise).map_or("", |about| about.dir);
        let outcome = match () {
            _ if *skipped => "<skipped/>".into(),
            _ if points == of => String::new(),
            _ => format!("<failure message=\"{points}/{of}: {}\"/>", escape(reason)),
        };
        xml +=
            &format!("  <testcase classname=\"{dir}\" name=\"{exercise}\">{outcome}</testcase>\n");
    }
    xml + "</testsuite>\n"
}

/// The result of one runner, as `autograding-grading-reporter` takes it: a test for each exercise,
/// with a point for each case that passed. What was left out does not count.
pub fn autograding(reports: &[Report]) -> Value {
    let counted: Vec<&Report> = reports.iter().filter(|one| !one.skipped).collect();
    let status = |passed| if passed { "pass" } else { "fail" };
    let tests = counted.iter().map(|report| {
        json!({
            "name": report.exercise,
            "status": status(report.passed()),
            "score": report.points,
            "max_score": report.of,
            "message": report.reason,
            "test_code": format!("make exercise EX={}", report.exercise),
            "filename": "",
            "line_no": 0,
        })
    });
    json!({
        "version": 1,
        "status": status(counted.iter().all(|one| one.passed())),
        "max_score": counted.iter().map(|one| one.of).sum::<usize>(),
        "tests": tests.collect::<Vec<Value>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reports() -> Vec<Report> {
        let report = |exercise: &str, points, reason: &str| Report {
            exercise: exercise.into(),
            points,
            of: 9,
            reason: reason.into(),
            skipped: false,
        };
        let mut all = vec![
            report("send_all", 9, ""),
            report("recv_exact", 3, "it \"sent\" <a> & b, 상대가 떠났다"),
            report("tlv", 0, ""),
        ];
        all[2].skipped = true;
        all
    }

    #[test]
    fn junit_says_what_passed_what_failed_and_why_and_what_was_left_out() {
        let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuite name="classroom" tests="3" failures="1" errors="0" skipped="1">
  <testcase classname="06_send_all" name="send_all"></testcase>
  <testcase classname="07_recv_exact" name="recv_exact"><failure message="3/9: it &quot;sent&quot; &lt;a&gt; &amp; b, 상대가 떠났다"/></testcase>
  <testcase classname="14_tlv" name="tlv"><skipped/></testcase>
</testsuite>
"#;
        assert_eq!(junit(&reports()), expected);
    }

    #[test]
    fn the_reporter_of_autograding_gets_the_points() {
        let result = autograding(&reports());
        assert_eq!((&result["status"], &result["max_score"]), (&json!("fail"), &json!(18)));
        assert_eq!(result["tests"].as_array().unwrap().len(), 2);
        assert_eq!(result["tests"][1]["score"], 3);
        assert_eq!(autograding(&reports()[..1])["status"], "pass");
    }
}
