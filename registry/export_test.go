package registry

// Served returns what AppendTXT says of a label, as texts.
func Served(r *Registry, label string) (values []string, exists bool, err error) {
	list, exists, err := r.AppendTXT(nil, []byte(label))
	return texts(list), exists, err
}

// texts takes a list of AppendTXT apart.
func texts(list []byte) (values []string) {
	for len(list) > 0 {
		end := 2 + int(list[0])<<8 + int(list[1])
		values = append(values, string(list[2:end]))
		list = list[end:]
	}
	return values
}
