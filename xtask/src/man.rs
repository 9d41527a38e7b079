//! Manual pages: one for a program, and one for each of its subcommands.

use std::{io, path::PathBuf};

use clap::Command;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use crate::Program;

/// What a page says beyond its program's flags: a heading, and what follows it, a term and its text each.
type Section = (&'static str, &'static [(&'static str, &'static str)]);

const REMEX: &[Section] = &[
    (
        "ENVIRONMENT",
        &[(
            "REMEX_SERVER",
            "The server, where no --server names one. Empty is unset.",
        )],
    ),
    ("SEE ALSO", &[("remexd(8)", "the server")]),
];

const REMEXD: &[Section] = &[
    (
        "FILES",
        &[
            (
                "/etc/remex/remexd.toml",
                "What the service reads as --config, with an example of each key.",
            ),
            (
                "/var/lib/remex",
                "Where root's remexd keeps what has to outlive it.",
            ),
        ],
    ),
    (
        "SIGNALS",
        &[
            (
                "SIGTERM, SIGINT, SIGQUIT",
                "Drain and exit; a second one kills what runs and is not durable.",
            ),
            ("SIGHUP", "On a terminal, as SIGTERM."),
        ],
    ),
    (
        "EXIT STATUS",
        &[
            (
                "0",
                "It was told to end, and has drained; or --check found nothing wrong.",
            ),
            ("64", "A flag, a file or an address is wrong."),
            ("69", "A port, a socket or the state folder cannot be had."),
            ("70", "A fault of its own."),
        ],
    ),
    (
        "SEE ALSO",
        &[
            ("remex(1)", "the command line"),
            ("remex-gateway(8)", "the gateway alone"),
        ],
    ),
];

const GATEWAY: &[Section] = &[
    (
        "FILES",
        &[(
            "/etc/remex/remex-gateway.toml",
            "What the service reads as --config, with an example of each key.",
        )],
    ),
    (
        "SEE ALSO",
        &[("remexd(8)", "the server, which has the gateway within, too")],
    ),
];

/// The pages as files below the folder that is written.
pub(crate) fn pages(program: &Program) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut definition = program.definition.clone().disable_help_subcommand(true);
    definition.build();
    let sections = match definition.get_name() {
        "remex" => REMEX,
        "remexd" => REMEXD,
        _ => GATEWAY,
    };
    let mut files = Vec::new();
    add(&mut files, &definition, program.section, sections)?;
    Ok(files)
}

fn add(
    files: &mut Vec<(PathBuf, Vec<u8>)>,
    command: &Command,
    section: &str,
    more: &[Section],
) -> io::Result<()> {
    let page = Man::new(command.clone()).section(section).manual("remex");
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if shown_subcommands(command).next().is_some() {
        page.render_subcommands_section(&mut text)?;
    }
    notes(command).to_writer(&mut text)?;
    further(more).to_writer(&mut text)?;
    let folder = PathBuf::from(format!("man/man{section}"));
    files.push((folder.join(page.get_filename()), text));
    for subcommand in shown_subcommands(command) {
        add(files, subcommand, section, &[])?;
    }
    Ok(())
}

fn shown_subcommands(command: &Command) -> impl Iterator<Item = &Command> {
    let subcommands = command.get_subcommands();
    subcommands.filter(|subcommand| !subcommand.is_hide_set())
}

/// What the help has behind the options, which is laid out in lines already.
fn notes(command: &Command) -> Roff {
    let mut roff = Roff::new();
    let text = command.get_after_long_help().or(command.get_after_help());
    if let Some(text) = text {
        roff.control("SH", ["NOTES"]);
        roff.control("nf", []);
        for line in text.to_string().lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
    }
    roff
}

fn further(sections: &[Section]) -> Roff {
    let mut roff = Roff::new();
    for (heading, terms) in sections {
        roff.control("SH", [*heading]);
        for (term, text) in *terms {
            roff.control("TP", []);
            roff.text([bold(*term)]);
            roff.text([roman(*text)]);
        }
    }
    roff
}
