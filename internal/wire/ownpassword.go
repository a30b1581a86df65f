package wire

// PasswordChange is another password for whoever calls.
type PasswordChange struct {
	Current  string `json:"current"` // the password until now
	Password string `json:"password"`
}
