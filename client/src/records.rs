//! Executions by their id, whoever started them: what is known of them, their end, signals and stdin.

use remex::v1::{self, execution::State};

use crate::{Client, Error, Exit, Signal};

impl Client {
    /// What the server knows of an execution.
    pub async fn get(&self, execution_id: impl Into<String>) -> Result<v1::Execution, Error> {
        let request = v1::GetRequest {
            execution_id: execution_id.into(),
            ..v1::GetRequest::default()
        };
        let response = self.exec().get(request).await?.into_inner();
        response.execution.ok_or(Error::Incomplete)
    }

    /// A page of executions, the newest first. Its `next_page_token`, if it is not empty, asks for the next one.
    pub async fn list(&self, request: v1::ListRequest) -> Result<v1::ListResponse, Error> {
        Ok(self.exec().list(request).await?.into_inner())
    }

    /// Waits until an execution has ended, which changes nothing about it.
    pub async fn wait(&self, execution_id: impl Into<String>) -> Result<Exit, Error> {
        let execution_id = execution_id.into();
        loop {
            let request = v1::WaitRequest {
                execution_id: execution_id.clone(),
                timeout: None,
            };
            let response = self.exec().wait(request).await?.into_inner();
            let execution = response.execution.ok_or(Error::Incomplete)?;
            if execution.state() == State::Ended {
                return Ok(execution.exit.unwrap_or_default().into());
            }
        }
    }

    /// What the server knows of the execution that this caller gave the id `request_id`.
    pub async fn find(&self, request_id: impl Into<String>) -> Result<v1::Execution, Error> {
        let request = v1::GetRequest {
            request_id: request_id.into(),
            ..v1::GetRequest::default()
        };
        let response = self.exec().get(request).await?.into_inner();
        response.execution.ok_or(Error::Incomplete)
    }

    /// Forgets an execution that has ended, and its output.
    pub async fn delete(&self, execution_id: impl Into<String>) -> Result<(), Error> {
        let execution_id = execution_id.into();
        self.exec()
            .delete(v1::DeleteRequest { execution_id })
            .await?;
        Ok(())
    }

    /// Sends `signal` to an execution that runs.
    pub async fn kill(&self, execution_id: impl Into<String>, signal: Signal) -> Result<(), Error> {
        let request = v1::SignalRequest {
            execution_id: execution_id.into(),
            signal: signal.number().into(),
        };
        self.exec().signal(request).await?;
        Ok(())
    }

    /// Gives an execution whose stdin is open a piece of it, and answers with the position up to which stdin has been
    /// accepted. A chunk with an `offset` may be sent again: what was accepted already is passed over.
    pub async fn write(
        &self,
        execution_id: impl Into<String>,
        chunk: v1::StdinChunk,
    ) -> Result<u64, Error> {
        let request = v1::WriteRequest {
            execution_id: execution_id.into(),
            chunk: Some(chunk),
        };
        let response = self.exec().write(request).await?.into_inner();
        Ok(response.stdin_accepted_bytes)
    }
}
