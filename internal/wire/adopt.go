package wire

// Adoption is a cluster that lived without a daemon, all of it PEM.
type Adoption struct {
	PrivateKey  string        `json:"private_key"` // of the CA
	Certificate string        `json:"certificate"` // of the CA, a root
	Signed      []AdoptedFile `json:"signed,omitempty"`
}

// AdoptedFile is a certificate that the CA signed.
type AdoptedFile struct {
	Name        string `json:"name"` // for errors
	Certificate string `json:"certificate"`
}

// Adopted says what an adoption did.
type Adopted struct {
	Path      string   `json:"path"`
	IsChanged bool     `json:"is_changed"` // the object has another CA than before
	Users     []string `json:"users"`      // paths of the objects that were made
	Recorded  int      `json:"recorded"`   // certificates that are in the inventory now, and were not
	Known     int      `json:"known"`      // that were there already
	Unnamed   []string `json:"unnamed"`    // users without an object, as none can have their name
}
