//! README and docs: their commands are parsed and, where they need no server, run; their transcripts and tables of options
//! are made here (`UPDATE_DOCS=1` writes them); their links lead somewhere.

mod commands;
mod content;
mod deployment;
mod links;
mod made;
mod sandbox;
mod yaml;
