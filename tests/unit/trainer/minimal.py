"""The least that a configuration says."""

VALID = """
teacher: {model: /teacher}
data: {prompts: {uri: /prompts.txt}}
storage: {uri: file:///run}
"""
