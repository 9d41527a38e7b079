//! The end of a durable execution in the audit log: told by the server that learns of it, also if that was not there when it
//! came. A file in the execution's folder says that it is told; a crash between the two has it told twice, never not at all.

use remex_supervisor::journal::{self, DiskFolder, Folder};

use super::store::DurableStore;
use crate::execution::Execution;

/// That file. There is nothing in it.
const TOLD: &str = "audited";

impl DurableStore {
    /// Tells the end of `execution`, which has ended, unless that is done.
    pub(super) async fn tell_end(&self, execution: &Execution) {
        let audit = &self.resources.audit;
        let Some(end) = execution.end_record().filter(|_| audit.is_on()) else {
            return;
        };
        let (journals, id) = (self.journals.clone(), execution.id.to_string());
        let is_told = {
            let (journals, id) = (journals.clone(), id.clone());
            self.files.run(move || is_told(&journals, &id)).await
        };
        if is_told || !audit.has_written_end(execution, end).await {
            return;
        }
        let told = self.files.run(move || {
            let folder = journal::open(&journals, &id)?;
            folder.create(TOLD).map(drop).map_err(Into::into)
        });
        let told: Result<(), Box<dyn std::error::Error + Send + Sync>> = told.await;
        if let Err(error) = told {
            // Deleted meanwhile; or it is told again at the next start.
            tracing::debug!(id = %execution.id, %error, "cannot note that an end is told");
        }
    }
}

fn is_told(journals: &DiskFolder, id: &str) -> bool {
    journal::open(journals, id).is_ok_and(|folder| folder.open(TOLD).is_ok())
}
