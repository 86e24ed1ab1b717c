//! The same on one page: a row for what both have, and what differs marked.

use std::fmt::Write;

use super::{Line, Mark, Row, lines, rows, summary};
use crate::output::html::{Details, HOW, STEPS, data, document, is_listed};
use crate::output::svg::escape;
use crate::output::words;
use crate::record::{Host, Trace, What};

const SCRIPT: &str = include_str!("../output/page/compare.js");

/// So many characters of an event, which may go over several lines.
const ROOM: usize = 90;

/// The page. `differences`: what is alike is hidden until it is asked for.
pub fn page(a: &Trace, b: &Trace, differences: bool) -> String {
    let traces = [a, b];
    let rows = traces.map(|trace| rows(trace, ROOM));
    let lines = lines(&rows);
    let titles = traces.map(|trace| escape(&trace.about.title));

    let mut header = format!("<h1>{} and {}</h1>\n", titles[0], titles[1]);
    for (name, trace) in ["A", "B"].into_iter().zip(traces) {
        let about = &trace.about;
        let (client, link) = (escape(&about.client), escape(&about.link));
        let _ = writeln!(header, "<p>{name}: client <code>{client}</code> · link: {link}</p>");
        for (what, said) in [("missing", &about.missing), ("broken", &about.broken)] {
            for said in said {
                let said = escape(said);
                let _ = writeln!(header, "<p class=\"missing\">{name}, {what}: {said}</p>");
            }
        }
    }
    let alike = lines.iter().filter(|line| line.mark == Mark::Alike).count();
    let apart = lines.len() - alike;
    let _ = writeln!(
        header,
        "<p>{apart} rows differ, {alike} are alike. <b class=\"only-a\">&lt;</b> only in A, \
         <b class=\"only-b\">&gt;</b> only in B, <b class=\"later\">~</b> alike, but one came \
         later after the row above</p>"
    );

    let (mut list, mut behind) = (String::new(), Vec::new());
    let (mut since, mut left_out) = (0, 0);
    for (place, line) in lines.iter().enumerate() {
        if !is_listed(place, lines.len()) {
            left_out += 1;
            continue;
        }
        if line.mark == Mark::Alike {
            since += 1;
        } else {
            gap(&mut list, &mut since);
        }
        if left_out > 0 {
            let _ = writeln!(list, "<li class=\"gap\">{left_out} rows are not listed</li>");
            left_out = 0;
        }
        item(&mut list, behind.len(), line, traces);
        behind.push([0, 1].map(|side| line.rows[side].map(|row| details(row, traces[side]))));
    }
    gap(&mut list, &mut since);

    let mut figures = String::new();
    for (name, [one, other]) in summary(a, b) {
        let class = if one == other { "" } else { " class=\"later\"" };
        let differs = if one == other { "" } else { "differs" };
        let cells = format!("<td>{one}</td><td>{other}</td><td>{differs}</td>");
        let _ =
            writeln!(figures, "<tr{class}><th scope=\"row\">{}</th>{cells}</tr>", escape(&name));
    }

    let body = format!(
        "<header>\n{header}</header>\n<div class=\"tools\">\
         <button id=\"only\" aria-pressed=\"{differences}\">Differences only</button></div>\n\
         <main>\n<div class=\"heads\"><b>A: {}</b><b>B: {}</b></div>\n\
         <ol id=\"list\" role=\"listbox\" aria-label=\"Events\" tabindex=\"0\">\n{list}</ol>\n\
         <table>\n<tr><td></td><th scope=\"col\">A</th><th scope=\"col\">B</th><td></td></tr>\n\
         {figures}</table>\n</main>\n\
         <section id=\"details\" aria-label=\"Details\">{STEPS}\
         <div id=\"behind\" aria-live=\"polite\">{HOW}</div></section>\n{}",
        titles[0],
        titles[1],
        data("lines", &behind),
    );
    document(&format!("{} and {}", a.about.title, b.about.title), "compare", &body, SCRIPT)
}

/// Stands for so many rows that are alike where these are hidden.
fn gap(list: &mut String, alike: &mut usize) {
    if *alike > 0 {
        let _ = writeln!(list, "<li class=\"gap alike-gap\">{alike} alike</li>");
    }
    *alike = 0;
}

fn item(list: &mut String, id: usize, line: &Line, traces: [&Trace; 2]) {
    let (class, says) = match line.mark {
        Mark::Alike => ("alike", "alike"),
        Mark::OnlyA => ("only-a", "only in A"),
        Mark::OnlyB => ("only-b", "only in B"),
        Mark::Later => ("later", "later"),
    };
    let cell = |side: usize| {
        let Some(row) = line.rows[side] else { return "<div></div>".to_owned() };
        let host = match &traces[side].events[row.event].what {
            What::Call(call) => words::host(call.host),
            What::State(change) => words::host(change.host),
            What::Process(process) => words::host(process.host),
            What::Segment(segment) if segment.from == Host::Client => "wire from-client",
            What::Segment(_) => "wire from-server",
        };
        let wait = match &line.wait {
            Some((column, wait)) if *column == side => format!("<small>{wait}</small>"),
            _ => String::new(),
        };
        let (time, text) = (words::since(0, row.at), escape(&row.text));
        format!("<div class=\"{host}\"><time>{time}</time><span>{text}{wait}</span></div>")
    };
    let _ = writeln!(
        list,
        "<li id=\"r{id}\" role=\"option\" aria-selected=\"false\" class=\"{class}\">{}\
         <b aria-label=\"{says}\">{}</b>{}</li>",
        cell(0),
        escape(line.mark.sign()),
        cell(1)
    );
}

fn details(row: &Row, trace: &Trace) -> Details {
    let start = trace.events.first().map_or(0, |event| event.at);
    Details::of(row.event.to_string(), &trace.events[row.event], start)
}
