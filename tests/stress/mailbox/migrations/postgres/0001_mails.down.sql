DROP TABLE mailbox_mails;
