package wire

import "time"

// Trouble is something that needs a hand, and the command that mends it.
type Trouble struct {
	Check  string `json:"check"`  // "pending", "expiring", "revoked", "orphan", "names", "crl", "policy", "openid", "store", "clock", "panic", "member", "restart", "backup" or "go"
	Level  string `json:"level"`  // "error": something does not work; "warning": it will not, or a guard is off; "info": a fact, nothing to mend
	Object string `json:"object"` // path; "" when it is about none
	What   string `json:"what"`
	Mend   string `json:"mend"` // a command as typed; "" when there is nothing to mend
}

// Diagnosis is what needs a hand, errors first, and at the end what is only good to know.
type Diagnosis struct {
	Now   time.Time `json:"now"` // by the clock of the server
	Items []Trouble `json:"items"`
}
