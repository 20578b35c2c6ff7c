{# Every spike through a kernel that all positions share; the code of `on_pre` is Brian2's. #}
{% extends 'common_group.cpp' %}
{% block maincode %}
{% macro _array(name) %}{{get_array_name(variables[name])}}{% endmacro %}
    const int _vectorisation_idx = -1;
    {{scalar_code|autoindent}}
    const int32_t* _spikes = {{_array('_spikespace')}};
    {% if delay %}
    // What fired now is kept in the place of what is delivered now.
    int32_t* _kept = {{_array('_past')}} + {{_array('_turn')}}[0] * {{neurons + 1}};
    static std::vector<int32_t> _due({{neurons + 1}});
    std::copy(_kept, _kept + {{neurons + 1}}, _due.begin());
    std::copy(_spikes, _spikes + {{neurons + 1}}, _kept);
    {{_array('_turn')}}[0] = ({{_array('_turn')}}[0] + 1) % {{delay}};
    _spikes = _due.data();
    {% endif %}
    for (int _j = 0; _j < _spikes[{{neurons}}]; _j++) {
        const int _presynaptic_idx = _spikes[_j];
        const int _copy = _presynaptic_idx / {{channels * pixels}};
        const int _channel = _presynaptic_idx / {{pixels}} % {{channels}}, _from = _presynaptic_idx % {{pixels}};
        for (int _tap = {{_array('_first')}}[_from]; _tap < {{_array('_first')}}[_from + 1]; _tap++) {
            const int _weights = ({{_array('_block')}}[_tap] * {{channels}} + _channel) * {{row}};
            const int _reached = (_copy * {{target_channels}} + {{offset}} + _channel / {{per_row}} * {{row}}) * {{target_pixels}} + {{_array('_pixel')}}[_tap];
            for (int _c = 0; _c < {{row}}; _c++) {
                const int _idx = _weights + _c;
                const int _postsynaptic_idx = _reached + _c * {{target_pixels}};
                const int _vectorisation_idx = _idx;
                {{vector_code|autoindent}}
            }
        }
    }
{% endblock %}
