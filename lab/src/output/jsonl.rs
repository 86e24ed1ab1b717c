//! JSON lines: the first is `{"about": …, "births": …, "sources": …}`, each other one an event, or
//! what a socket's figures were (`"event":"sample"`). Bytes are hexadecimal.

use std::io::{BufRead, Write};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::record::{About, Birth, Event, Sample, Source, Trace};

/// The first line.
#[derive(Serialize, Deserialize)]
struct First<A, B, S> {
    about: A,
    births: Option<B>,
    sources: Option<S>,
}

/// A sample among the events.
#[derive(Serialize)]
struct Sampled<'a> {
    event: &'static str,
    #[serde(flatten)]
    sample: &'a Sample,
}

const SAMPLE: &str = "sample";

/// What a line is.
#[derive(Deserialize)]
struct Kind<'a> {
    event: &'a str,
}

/// Writes the whole trace.
pub fn write(trace: &Trace, mut out: impl Write) -> Result<()> {
    let (births, sources) = (Some(&trace.births), Some(&trace.sources));
    line(&First { about: &trace.about, births, sources }, &mut out)?;
    let mut samples = trace.samples.iter().peekable();
    let sampled = |sample| Sampled { event: SAMPLE, sample };
    for event in &trace.events {
        while let Some(sample) = samples.next_if(|sample| sample.at < event.at) {
            line(&sampled(sample), &mut out)?;
        }
        line(event, &mut out)?;
    }
    samples.try_for_each(|sample| line(&sampled(sample), &mut out))?;
    Ok(out.flush()?)
}

fn line(value: &impl Serialize, out: &mut impl Write) -> Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    Ok(out.write_all(b"\n")?)
}

/// Reads a trace back. An error names the line.
pub fn read(input: impl BufRead) -> Result<Trace> {
    let mut trace = Trace::default();
    let mut input = input.lines().enumerate().peekable();
    ensure!(input.peek().is_some(), "it is empty");
    for (index, text) in input {
        let text = text?;
        let place = || format!("line {} is no line of a trace", index + 1);
        if index == 0 {
            let first: First<About, Vec<Birth>, Vec<Source>> =
                serde_json::from_str(&text).with_context(place)?;
            trace.about = first.about;
            trace.births = first.births.unwrap_or_default();
            trace.sources = first.sources.unwrap_or_default();
        } else if serde_json::from_str::<Kind>(&text).is_ok_and(|line| line.event == SAMPLE) {
            trace.samples.push(serde_json::from_str(&text).with_context(place)?);
        } else if !text.is_empty() {
            let event: Event = serde_json::from_str(&text).with_context(place)?;
            ensure!(event.complete() >= event.at, "{}: it ends before it begins", place());
            trace.events.push(event);
        }
    }
    Ok(trace)
}
