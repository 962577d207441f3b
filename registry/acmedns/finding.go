package acmedns

// Kind is what a Finding is about.
type Kind string

// The kinds of findings. Accounts of the first four are left out.
const (
	BadUsername  Kind = "bad_username"  // not a UUID in the form in which acme-dns looks it up
	BadPassword  Kind = "bad_password"  // not a bcrypt hash
	SameUsername Kind = "same_username" // of another account too, which only tables without constraints can have
	SameName     Kind = "same_name"     // the subdomain is that of another, or differs in case only
	Locked       Kind = "locked"        // AllowFrom is missing or unreadable: no update is taken
	BadAllowFrom Kind = "bad_allowfrom" // AllowFrom has an entry that is no prefix
	BadValue     Kind = "bad_value"     // a value that no client can have set
	Unreachable  Kind = "unreachable"   // the subdomain is no host name label
)

// Kinds returns all kinds, the gravest first.
func Kinds() []Kind {
	return []Kind{BadUsername, BadPassword, SameUsername, SameName, Locked, BadAllowFrom, BadValue, Unreachable}
}

// LeftOut reports whether the account is not among the entries.
func (k Kind) LeftOut() bool {
	return k == BadUsername || k == BadPassword || k == SameUsername || k == SameName
}

// Finding is something of an account that is not as it should be.
type Finding struct {
	Kind      Kind   `json:"kind"`
	Username  string `json:"username"`
	Subdomain string `json:"subdomain"`
	Detail    string `json:"detail"`
}

func (a *account) tell(kind Kind, detail string) {
	a.found(Finding{Kind: kind, Username: a.username, Subdomain: a.subdomain, Detail: detail})
}
