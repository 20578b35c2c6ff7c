{# The current that a stimulus, or a layer of neurons that do not spike, sends through a projection. #}
{# USES_VARIABLES { t_in_timesteps } #}
{% extends 'common_group.cpp' %}
{% block maincode %}
{% macro _array(name) %}{{get_array_name(variables[name])}}{% endmacro %}
    typedef {{c_data_type(real)}} _real;
    const int _step = {{t_in_timesteps}};
    {% if held %}
    if (_step) return;
    {% endif %}
    for (int _b = 0; _b < {{batch}}; _b++) {
        const _real* _values = {{_array('in0_values')}} + {{from_image}} * (size_t)_b + {{from_step}} * (size_t)_step + {{start}};
        for (int _p = 0; _p < {{target_pixels}}; _p++) {
            const int _from = {{_array('in0_first')}}[_p], _to = {{_array('in0_first')}}[_p + 1];
            const shared::Stretches _seen = {
                {{_array('in0_begin')}} + _from, {{_array('in0_end')}} + _from, {{_array('in0_shift')}} + _from, _to - _from};
            {% if maximum %}
            shared::max_row<_real, {{channels}}>(
                {{_array('in0_current')}} + ((size_t)_b * {{target_pixels}} + _p) * {{target_channels}}, _seen, _values);
            {% else %}
            shared::{{ 'sum_row' if per_row == channels else 'sum_parts' }}<_real, {{row}}, {{stride}}, {{channels}}{{ '' if per_row == channels else ', ' ~ per_row }}>(
                {{_array('in0_current')}} + ((size_t)_b * {{target_pixels}} + _p) * {{target_channels}} + {{offset}},
                {{_array('in0_kernel')}}, _seen, _values);
            {% endif %}
        }
    }
{% endblock %}
