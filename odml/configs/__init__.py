"""The configurations that come with odml, one YAML file each."""
