//! How the programs come to a machine and live there: as services, as packages, with manuals and completions.

mod notify;
