package wire

// BackupRequest asks for a backup that the holder of a key can open.
type BackupRequest struct {
	Recipient string `json:"recipient"` // of age, "age1…"
}
