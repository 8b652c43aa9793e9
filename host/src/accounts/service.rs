//! The account service without HTTP: registration, admins, public information. Sessions are in other files.

use serde_json::json;
use tinybase_abi::codec::BatchWriter;

use super::{
    Accounts, Caller, InstanceInfo, MeAnswer, RegisterAnswer, RegisterRequest, Role, email,
    password_rules::password_fault,
    users::{self, User},
};
use crate::{
    audit::{self, Actor, Entry},
    db::DbError,
    error::ApiError,
};

/// The result of adding an admin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminAdded {
    /// The user is new.
    Created,
    /// The user existed, and is now an admin with this password.
    Promoted,
    /// The user was already an admin, and nothing changed.
    Unchanged,
}

impl Accounts {
    /// Returns the public information about this instance.
    pub async fn instance_info(&self) -> Result<InstanceInfo, ApiError> {
        Ok(InstanceInfo { instance_name: self.settings.current().await?.instance_name() })
    }

    /// Creates a user with the ordinary role.
    ///
    /// # Errors
    /// 400 `email_taken`, 403 `registration_disabled` or `setup_needed`, 503 while too many passwords are being hashed.
    pub async fn register(
        &self,
        request: RegisterRequest,
        actor: &Actor,
    ) -> Result<RegisterAnswer, ApiError> {
        self.check_claimed().await?;
        self.check_registration().await?;
        if self.users.by_email(&request.email).await?.is_some() {
            return Err(email_taken());
        }
        let password_hash = self.passwords.hash(request.password).await?;
        let user = User::new(request.email, password_hash, Role::User);
        self.create(&user, actor).await?;
        Ok(RegisterAnswer { id: user.id, email: user.email, message: "the account was created; sign in now" })
    }

    /// Returns an error if registration is disabled.
    pub(super) async fn check_registration(&self) -> Result<(), ApiError> {
        if self.settings.current().await?.allow_public_registration() {
            return Ok(());
        }
        let detail = "registration is disabled; ask an admin for an account";
        Err(ApiError::forbidden("registration_disabled", detail))
    }

    /// Returns the caller as stored.
    pub async fn me(&self, caller: &Caller) -> Result<MeAnswer, ApiError> {
        let user = self.users.by_id(&caller.user_id).await?.ok_or_else(|| {
            ApiError::unauthorized("token_revoked", "this user is no more; sign in as another")
        })?;
        Ok(MeAnswer::of(user))
    }

    /// Creates an admin with this password, or makes an existing user one and sets the password.
    ///
    /// # Errors
    /// 400 `email_invalid` and `password_invalid`, with messages for a command line.
    pub async fn add_admin(
        &self,
        email: &str,
        password: String,
        actor: &Actor,
    ) -> Result<AdminAdded, ApiError> {
        let email = checked(email, &password)?;
        let password_hash = self.passwords.hash(password).await?;
        let Some(user) = self.users.by_email(&email).await? else {
            self.create(&User::new(email, password_hash, Role::Admin), actor).await?;
            return Ok(AdminAdded::Created);
        };
        self.promote(user, Some(&password_hash), actor).await?;
        Ok(AdminAdded::Promoted)
    }

    /// Creates an admin if there is no such user, or makes an existing user one. An existing password stays.
    ///
    /// # Errors
    /// As [`Accounts::add_admin`].
    pub async fn ensure_admin(
        &self,
        email: &str,
        password: String,
        actor: &Actor,
    ) -> Result<AdminAdded, ApiError> {
        let email = checked(email, &password)?;
        match self.users.by_email(&email).await? {
            Some(user) if user.role.is_admin() => Ok(AdminAdded::Unchanged),
            Some(user) => self.promote(user, None, actor).await.map(|()| AdminAdded::Promoted),
            None => {
                let password_hash = self.passwords.hash(password).await?;
                self.create(&User::new(email, password_hash, Role::Admin), actor).await?;
                Ok(AdminAdded::Created)
            }
        }
    }

    pub(super) async fn create(&self, user: &User, actor: &Actor) -> Result<(), ApiError> {
        let mut batch = BatchWriter::default();
        users::insert(&mut batch, user);
        audit::push(&mut batch, actor, &user.created_entry());
        let own = batch.len();
        let event = user.event("user.create");
        self.events().before(&event, &mut batch).await?;
        self.users.sql().apply(batch).await.map_err(|error| match error {
            DbError::Unique { ref table, .. } if table == "tb_users" => email_taken(),
            other => refused_by_hook(other, own),
        })?;
        self.events().after(event);
        Ok(())
    }

    async fn promote(&self, user: User, password_hash: Option<&str>, actor: &Actor) -> Result<(), ApiError> {
        let mut batch = BatchWriter::default();
        users::make_admin(&mut batch, &user.id, password_hash);
        Accounts::end_sessions(&mut batch, &user.id, None);
        let mut change = json!({"role": {"from": user.role.name(), "to": Role::Admin.name()}});
        if password_hash.is_some() {
            change["password"] = json!("changed");
        }
        let entry = Entry { action: "user.update", target_kind: "user", target_id: &user.id, change };
        audit::push(&mut batch, actor, &entry);
        let own = batch.len();
        let event = User { role: Role::Admin, ..user }.event("user.update");
        self.events().before(&event, &mut batch).await?;
        self.users.sql().apply(batch).await.map_err(|error| refused_by_hook(error, own))?;
        self.user_changed(&event.user_id);
        self.events().after(event);
        Ok(())
    }
}

/// Maps a failed batch to an error. The first `own` statements are the host's; a failed condition after them is a
/// refusal by the before hook that added the statement.
pub(super) fn refused_by_hook(error: DbError, own: usize) -> ApiError {
    match error {
        DbError::Condition { statement, .. } if statement >= own => ApiError::conflict(
            "hook_condition",
            "an extension refused this change, because what it depends on has changed",
        ),
        other => other.into(),
    }
}

pub(super) fn email_taken() -> ApiError {
    ApiError::bad_request("email_taken", "this email is taken; sign in, or use another")
}

fn checked(email: &str, password: &str) -> Result<String, ApiError> {
    if let Some((msg, _)) = password_fault(password) {
        return Err(ApiError::bad_request("password_invalid", msg));
    }
    email::normalize(email).ok_or_else(|| {
        let shown = email.chars().take(80).collect::<String>();
        ApiError::bad_request(
            "email_invalid",
            format!("{shown:?} is not an email address; it must look like name@example.org"),
        )
    })
}
