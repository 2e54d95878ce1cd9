use super::{Config, Report};
pub struct Loaded {
    pub config: Config,
    pub report: Report,
}
pub fn load() {}
pub fn load_text() {}
