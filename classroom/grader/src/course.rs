//! What `make grade` leaves for others to read: JUnit XML, and what GitHub Classroom's reporter of
//! autograding takes.

use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, Event};
use serde_json::{Value, json};

use crate::about::ALL;
use crate::grading::Report;

/// A test suite with a test case for each exercise. One that was left out is skipped.
///
/// # Errors
/// None but of the writer, which writes into memory.
pub fn junit(reports: &[Report]) -> io::Result<String> {
    let count = |is: fn(&Report) -> bool| reports.iter().filter(|one| is(one)).count().to_string();
    let (tests, failures, skipped) =
        (count(|_| true), count(|one| !one.skipped && !one.passed()), count(|one| one.skipped));
    let mut xml = Writer::new_with_indent(Vec::new(), b' ', 2);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let suite = xml.create_element("testsuite").with_attributes([
        ("name", "classroom"),
        ("tests", &*tests),
        ("failures", &*failures),
        ("errors", "0"),
        ("skipped", &*skipped),
    ]);
    suite.write_inner_content(|xml| {
        for report in reports {
            let about = ALL.iter().find(|about| about.name == report.exercise);
            let case = xml.create_element("testcase").with_attributes([
                ("classname", about.map_or("", |about| about.dir)),
                ("name", &*report.exercise),
            ]);
            let Report { points, of, reason, .. } = report;
            match () {
                _ if report.skipped => {
                    case.write_inner_content(|xml| {
                        xml.create_element("skipped").write_empty().map(|_| ())
                    })?;
                }
                _ if report.passed() => {
                    case.write_empty()?;
                }
                _ => {
                    let message = format!("{points}/{of}: {reason}");
                    case.write_inner_content(|xml| {
                        let failure = xml.create_element("failure");
                        failure.with_attribute(("message", &*message)).write_empty().map(|_| ())
                    })?;
                }
            }
        }
        Ok(())
    })?;
    Ok(String::from_utf8_lossy(&xml.into_inner()).into_owned())
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
    use quick_xml::events::Event;
    use quick_xml::{Reader, XmlVersion};

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
        let xml = junit(&reports()).unwrap();
        let mut reader = Reader::from_str(&xml);
        let mut seen = Vec::new();
        loop {
            match reader.read_event().unwrap() {
                Event::Start(tag) | Event::Empty(tag) => {
                    let name = tag.name().as_ref().to_owned();
                    let values = tag.attributes().map(|attribute| {
                        attribute
                            .unwrap()
                            .normalized_value(XmlVersion::Implicit1_0)
                            .unwrap()
                            .into_owned()
                    });
                    seen.push(format!("{name} {}", values.collect::<Vec<_>>().join(" ")));
                }
                Event::Eof => break,
                _ => {}
            }
        }
        assert_eq!(
            seen,
            [
                "testsuite classroom 3 1 0 1",
                "testcase 06_send_all send_all",
                "testcase 07_recv_exact recv_exact",
                "failure 3/9: it \"sent\" <a> & b, 상대가 떠났다",
                "testcase 14_tlv tlv",
                "skipped ",
            ]
        );
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
